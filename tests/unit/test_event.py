"""Events: what a publisher may send, and the envelope's promise that what was accepted is what everybody gets."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hub.core import event as events
from hub.core.errors import HubError, Invalid, InvalidJson
from hub.core.event import Event
from tests.support.payloads import body_of, fields, outcome, publish, reference_loads, refusal

json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(alphabet=st.characters(codec="utf-8"), max_size=4), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
json_layout = st.sampled_from(
    [
        {},
        {"indent": 2},
        {"separators": ("\r\n,\r\n", "\n:\t ")},
        {"ensure_ascii": False},
        {"ensure_ascii": False, "indent": "\t"},
    ]
)


def test_one_event_is_no_batch_and_an_array_is_one() -> None:
    one = body_of(b"1")
    assert [len(events.parse(one)[0]), events.parse(one)[1]] == [1, False]
    items, is_batch = events.parse(b" \r\n\t[" + one + b"," + one + b"] ")
    assert (len(items), is_batch) == (2, True)


def test_the_envelope_holds_what_was_given_and_nothing_else() -> None:
    [event] = publish(body_of(b'{"a":1}'))
    assert event == Event(
        "evt_1", "orders.42", "order.created", "2026-01-01T00:00:00.000Z",
        b'{"id":"evt_1","type":"order.created","topic":"orders.42","timestamp":"2026-01-01T00:00:00.000Z","data":{"a":1}}',
    )  # fmt: skip


def test_the_envelope_carries_the_optional_attributes() -> None:
    attributes = {"id": "mine-1", "timestamp": "2026-01-31T08:00:00+01:00", "source": "/shop", "subject": 'a"\n\0é',
                  "dataschema": "https://example.com/s"}  # fmt: skip
    [event] = publish(body_of(b"null", **attributes))
    assert json.loads(event.body) == {"type": "order.created", "topic": "orders.42", "data": None, **attributes}
    assert (event.id, event.timestamp) == ("mine-1", "2026-01-31T08:00:00+01:00")


def test_an_ephemeral_event_says_so_beside_its_envelope() -> None:
    [event] = publish(body_of(b"1", ephemeral=True))
    assert event.ephemeral
    assert "ephemeral" not in json.loads(event.body)


@given(json_value, json_layout)
@settings(max_examples=150)
def test_the_envelope_is_one_line_of_json_with_the_same_data(value: object, layout: dict[str, Any]) -> None:
    text = json.dumps(value, **layout)
    [event] = publish(body_of(text.encode()))
    assert b"\n" not in event.body
    assert b"\r" not in event.body
    assert reference_loads(event.body)["data"] == reference_loads(text)


@given(json_value)
def test_data_without_line_breaks_is_carried_byte_for_byte(value: object) -> None:
    data = json.dumps(value, ensure_ascii=False).encode()
    [event] = publish(body_of(data))
    assert event.body.endswith(b',"data":' + data + b"}")


@pytest.mark.parametrize(
    "data",
    [b"1e999", b"12345678901234567890", b"-0", b"-0.0", b"1E+2", b"0.10", b"1.0",
     b"3.141592653589793238462643383279", b"1" * 5000, b'"\\u0000"', b'"\\/"', b'"\\u00e9"', b'"\xc3\xa9"',
     b'"\\ud83d\\ude00"', b'"\xe2\x80\xa8\xc2\x85\x7f"', b'{"a":1,"a":2}', b'[ 1 ,\t2 ]', b'""', b"{}", b"[]",
     b"true", b"null"],
)  # fmt: skip
def test_the_spelling_of_data_is_kept(data: bytes) -> None:
    [event] = publish(body_of(data))
    assert event.body.endswith(b',"data":' + data + b"}")


def test_line_breaks_between_tokens_go_and_escaped_ones_stay() -> None:
    [event] = publish(body_of(b'{\r\n  "a\\n": [\n1,\r2],\n"b": "\\r\\n\\\\"\n}'))
    assert event.body.endswith(b',"data":{  "a\\n": [1,2],"b": "\\r\\n\\\\"}}')


@pytest.mark.parametrize(
    "data",
    [b"", b"NaN", b"Infinity", b"-Infinity", b"nul", b"True", b"01", b"-01", b"+1", b"1.", b".5", b"1e", b"1e+",
     b"-", b"0x1", b"1 2", b"1\n2", b"[1\n2]", b"[1,]", b"[,]", b'{"a":1,}', b'{"a" 1}', b"{1:2}", b"{a:1}", b"'a'",
     b'"a', b'"a\nb"', b'"a\rb"', b'"\t"', b'"\x00"', b"\x00", b'"\x1f"', b'"\\q"', b'"\\u00"', b'"\\u00g0"',
     b'"\\x41"', b'"\\ud800"', b'"\\ud800\\ud800"', b'"\\ud800x"', b'"\\ud800\\n"', b'"\\udc00"',
     b'"\\udc00\\ud800"', b'{"\\ud800":1}', b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"',
     b"\xef\xbb\xbf1", b"[1]]", b"[[1]", b"}", b"/* */ 1", b"1 // one"],
)  # fmt: skip
def test_data_that_is_not_json_is_refused(data: bytes) -> None:
    assert isinstance(refusal(body_of(data)), InvalidJson)


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"[", b"[" + body_of(b"1"), b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\x00", b"\x0b[{}]",
     b"\xa0[]", body_of(b"1") + b"x", body_of(b"1") * 2, body_of(b"1") + b"\x00", body_of(b"1").replace(b"42",
     b"\\ud800"), b"\x80" * 100],
)  # fmt: skip
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    exc = refusal(body)
    assert isinstance(exc, InvalidJson)
    assert fields(exc) == ["body"]


def test_a_byte_that_is_not_utf8_is_pointed_at() -> None:
    assert "byte 2 is not UTF-8" in refusal(b'{"\xff":1}').message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"null", "body"),
        (b"5", "body"),
        (b'"x"', "body"),
        (b"[]", "body"),
        (b"[null]", "[0]"),
        (b"[[]]", "[0]"),
        (b"{}", "topic"),
        (b'{"topic":"a"}', "type"),
        (b'{"topic":"a","type":"b"}', "data"),
        (body_of(b"1", topic="a b"), "topic"),
        (body_of(b"1", topic="hub.x"), "topic"),
        (body_of(b"1", topic="a.*"), "topic"),
        (body_of(b"1", id=5), "id"),
        (body_of(b"1", id="a b"), "id"),
        (body_of(b"1", id="a\n"), "id"),
        (body_of(b"1", id="é"), "id"),
        (body_of(b"1", id="a" * 256), "id"),
        (body_of(b"1", timestamp=0), "timestamp"),
        (body_of(b"1", timestamp=""), "timestamp"),
        (body_of(b"1", source=[]), "source"),
        (body_of(b"1", subject={}), "subject"),
        (body_of(b"1", dataschema=True), "dataschema"),
        (body_of(b"1", ephemeral="yes"), "ephemeral"),
        (body_of(b"1", cursor="0-0-0-0"), "cursor"),
        (body_of(b"[" * 65 + b"]" * 65), "data"),
    ],
)
def test_a_refusal_names_the_field_and_in_a_batch_the_index(body: bytes, field: str) -> None:
    assert fields(refusal(body)) == [field]
    if field != "body" and not field.startswith("["):
        good = body_of(b"1")
        exc = refusal(b"[" + good + b"," + good + b"," + good + b"," + body + b"]")
        assert isinstance(exc, Invalid)
        assert fields(exc) == [f"[3].{field}"]
        assert exc.message.startswith(f"[3].{field}: ")


def test_an_unknown_field_is_not_sent_back_at_length() -> None:
    exc = refusal(body_of(b"1", **{"k" * 100_000: 1}))
    assert len(exc.message) < 1000
    assert len(str(exc.details)) < 1000


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:\\u0d8 \n-1e.tfn', max_size=40).map(str.encode))
@settings(max_examples=300)
@example(b"[" * 100_000)
@example(b'{"data":' + b'{"a":' * 100_000)
def test_arbitrary_bytes_are_refused_in_order_or_accepted(body: bytes) -> None:
    result = outcome(body)
    if isinstance(result, HubError):
        assert 400 <= result.status < 500
        assert result.details
        msgspec.json.encode((result.message, result.details))


@st.composite
def mutated_body(draw: st.DrawFn) -> bytes:
    """A good publish request with a few bytes changed, dropped, doubled or moved."""
    data = draw(st.one_of(json_value.map(json.dumps), st.just('{"a":["\\ud83d\\ude00",1e5,-0.5,true,null,"é\\n"]}')))
    body = body_of(data.encode(), id="mine", timestamp="2026-01-31T08:00:00Z", subject="s")
    if draw(st.booleans()):
        body = b"[" + body + b"," + body + b"]"
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        till = min(len(body), at + draw(st.integers(0, 3)))
        body = body[:at] + draw(st.sampled_from(SPLICES) | st.binary(max_size=2)) + body[till:]
    return body


SPLICES = [
    b"",
    b"\n",
    b"\r\n",
    b'"',
    b"\\",
    b"{",
    b"]",
    b",",
    b"\x00",
    b"\xff",
    b"NaN",
    b"0",
    b"\\ud800",
    b"\\u0000",
    b"\xef\xbb\xbf",
    b"*",
]


@given(mutated_body())
@settings(max_examples=400)
def test_what_a_mutation_leaves_valid_is_carried_and_the_rest_refused(body: bytes) -> None:
    result = outcome(body)
    if isinstance(result, HubError):
        assert 400 <= result.status < 500
        msgspec.json.encode((result.message, result.details))
        return
    sent: Any = reference_loads(body)  # what was accepted is JSON for others too
    items: list[Any] = sent if body.lstrip().startswith(b"[") else [sent]
    for item, event in zip(items, result, strict=True):
        envelope = reference_loads(event.body)
        assert envelope["data"] == item["data"]
        assert envelope["topic"] == item["topic"] == event.topic
        assert not re.search(rb"[\r\n\0]", event.body)
