"""CloudEvents in and out, checked with the CloudEvents SDK."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from hub.core import cloudevents
from hub.core.errors import HubError, Invalid
from hub.core.event import EventInput, build

BASE = {"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order.created"}


def stored(item: EventInput) -> bytes:
    return build(item, id=item.id or "", now_ms=0, max_bytes=100_000).body


def parse(**changes: Any) -> EventInput:
    given = {name: value for name, value in {**BASE, **changes}.items() if value != "absent"}
    (item,) = cloudevents.parse(msgspec.json.encode(given), False)
    return item


def sdk_event(**attributes: Any) -> CloudEvent:
    return CloudEvent(
        {"id": "a-1", "source": "/größe?x=1", "type": "order.created", "topic": "orders.42", "subject": "a \"b\" 100%",
         "time": datetime(2026, 1, 31, 8, tzinfo=UTC), "datacontenttype": "application/json", "traceid": "00-ab",
         "dataschema": "https://shop.example/order.json", **attributes},
        {"total": 7, "name": "größe"},
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_what_the_sdk_sends_comes_out_for_the_sdk_as_it_was(mode: str) -> None:
    event = sdk_event()
    message = to_structured_event(event) if mode == "structured" else to_binary_event(event)
    headers = {name.lower(): value for name, value in message.headers.items()}
    if mode == "structured":
        (item,) = cloudevents.parse(message.body, False)
    else:
        (item,) = cloudevents.parse_binary(headers, message.body)
    body = stored(item)
    shown = msgspec.json.decode(body)
    assert (shown["topic"], shown["data"], shown["extensions"]) == ("orders.42", event.get_data(), {"traceid": "00-ab"})
    ways = (
        HTTPMessage(*cloudevents.binary(body)),
        HTTPMessage({"content-type": cloudevents.STRUCTURED}, cloudevents.structured(body)),
    )
    for way in ways:
        back = from_http_event(way)
        assert back.get_attributes() == event.get_attributes()
        assert back.get_data() == event.get_data()


def test_extensions_that_are_no_text_keep_their_type_in_json_and_are_written_out_in_headers() -> None:
    body = stored(parse(sampled=True, muted=False, priority=7))
    shown = msgspec.json.decode(cloudevents.structured(body))
    assert (shown["sampled"], shown["muted"], shown["priority"]) == (True, False, 7)
    headers, _ = cloudevents.binary(body)
    assert (headers["ce-sampled"], headers["ce-muted"], headers["ce-priority"]) == ("true", "false", "7")


@given(source=st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text))
def test_any_text_survives_the_headers_of_binary_mode(source: str) -> None:
    try:
        body = stored(EventInput("orders.1", "order.paid", msgspec.Raw(b"1"), id="a", source=source))
    except UnicodeEncodeError:
        return  # a lone surrogate is no text of JSON's
    headers, _ = cloudevents.binary(body)
    assert all(32 < ord(character) < 127 for character in headers["ce-source"])
    assert cloudevents.parse_binary(headers, b"1")[0].source == source


@pytest.mark.parametrize(
    ("attributes", "topic"),
    [({"topic": "orders.1", "subject": "x"}, "orders.1"), ({"subject": "orders.2"}, "orders.2"), ({}, "order.created")],
)
def test_the_topic_is_the_extension_else_the_subject_else_the_type(attributes: dict[str, str], topic: str) -> None:
    assert parse(**attributes).topic == topic


def test_an_event_without_a_source_gets_the_hubs() -> None:
    body = stored(EventInput("orders.1", "order.paid", msgspec.Raw(b'{"a": 1}'), id="a"))
    shown = msgspec.json.decode(cloudevents.structured(body))
    assert (shown["source"], shown["specversion"], shown["data"]) == (cloudevents.SOURCE, "1.0", {"a": 1})
    assert cloudevents.binary(body)[1] == b'{"a": 1}'


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"specversion": "absent"}, "specversion"),
        ({"id": "absent"}, "id"),
        ({"source": ""}, "source"),
        ({"type": None}, "type"),
        ({"subject": 5}, "subject"),
        ({"datacontenttype": "text/plain", "data": "x"}, "datacontenttype"),
        ({"data_base64": "AAAA"}, "data_base64"),
        ({"trace": {"a": 1}}, "trace"),
        ({"number": 1.5}, "number"),
    ],
)
def test_what_is_no_cloudevent_of_json_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(**changes)
    assert refused.value.details[0].field == field


@pytest.mark.parametrize("name", ["UPPER", "with-dash", "x" * 21, "größe", "timestamp"])
def test_an_extension_of_no_allowed_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="extensions"):
        stored(parse(**{name: "x"}))


def test_a_batch_names_the_event_that_is_wrong() -> None:
    body = msgspec.json.encode([BASE, {**BASE, "specversion": "2"}])
    with pytest.raises(Invalid) as refused:
        cloudevents.parse(body, True)
    assert refused.value.details[0].field == "[1].specversion"
    assert [item.id for item in cloudevents.parse(msgspec.json.encode([BASE, {**BASE, "id": "b"}]), True)] == [
        "a-1",
        "b",
    ]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[1]", b"\xff", b"1", b'{"id": NaN}', b"[" * 100_000])
def test_a_body_of_another_form_is_an_error_and_no_crash(body: bytes) -> None:
    for is_batch in (True, False):
        with pytest.raises(HubError):
            cloudevents.parse(body, is_batch)
    headers = {f"ce-{name}": value for name, value in BASE.items()}
    if body in (b"{", b"\xff", b'{"id": NaN}', b"[" * 100_000):
        with pytest.raises(HubError):
            cloudevents.parse_binary(headers, body)
    with pytest.raises(Invalid):
        cloudevents.parse_binary({**headers, "ce-id": "%ff"}, b"1")
