"""Events: what a publisher may send, and the envelope's promise that what was accepted is what everybody gets."""

import contextlib
import json
import re
import tracemalloc
import uuid
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hub.core import event as events
from hub.core.errors import HubError, Invalid, InvalidJson, PayloadTooLarge
from hub.core.event import Event, EventInput

LIMIT = 256 * 1024
NOW = 1_767_225_600_000

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


class Number(str):
    """A number's spelling, so that 1, 1.0 and 1e0 compare as different."""

    __slots__ = ()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def reference_loads(text: bytes | str) -> Any:
    """The standard library's JSON, made strict (no NaN) and telling numbers apart by their spelling."""
    return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=_refuse_constant)


def publish(body: bytes, max_bytes: int = LIMIT) -> list[Event]:
    """What the publish route does with a body."""
    items, is_batch = events.parse(body)
    return [
        events.build(item, id=item.id or "evt_1", now_ms=NOW, max_bytes=max_bytes, prefix=f"[{n}]." if is_batch else "")
        for n, item in enumerate(items)
    ]


def outcome(body: bytes) -> list[Event] | HubError:
    try:
        return publish(body)
    except HubError as exc:
        return exc


def body_of(data: bytes, **more: object) -> bytes:
    head = msgspec.json.encode({"topic": "orders.42", "type": "order.created", **more})
    return head[:-1] + b',"data":' + data + b"}"


def refusal(body: bytes, max_bytes: int = LIMIT) -> HubError:
    with pytest.raises(HubError) as caught:
        publish(body, max_bytes)
    return caught.value


def fields(exc: HubError) -> list[str]:
    return [detail.field for detail in exc.details]


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


@given(
    st.text(max_size=30)
    | st.text(alphabet="0123456789-:.TZtz+ \N{FULLWIDTH DIGIT ONE}\ud800", min_size=18, max_size=32)
)
def test_arbitrary_timestamps_are_refused_or_are_times(value: str) -> None:
    item = EventInput("a", "b", msgspec.Raw(b"1"), timestamp=value)
    with contextlib.suppress(Invalid):
        event = events.build(item, id="x", now_ms=0, max_bytes=LIMIT)
        assert datetime.fromisoformat(event.timestamp).tzinfo is not None


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_every_rfc_3339_time_is_accepted_as_it_is_spelt(at: datetime) -> None:
    value = at.isoformat()
    if value[19:].count(":") > 1:  # an offset with seconds, which RFC 3339 doesn't know
        value = value[: value.rindex(":")]
    item = EventInput("a", "b", msgspec.Raw(b"1"), timestamp=value)
    assert events.build(item, id="x", now_ms=0, max_bytes=LIMIT).timestamp == value


@pytest.mark.parametrize(
    "value", ["2026-01-31T08:00:00Z", "2026-01-31t08:00:00.123456789z", "2024-02-29T23:59:59.9-23:59"]
)
def test_the_forms_of_rfc_3339_are_times(value: str) -> None:
    [event] = publish(body_of(b"1", timestamp=value))
    assert event.timestamp == value


@pytest.mark.parametrize(
    "value",
    ["2026-01-31", "2026-01-31T08:00:00", "2026-01-31 08:00:00Z", "2026-01-31T08:00Z", "2026-01-31T08:00:00Z\n",
     "2026-02-30T08:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T08:60:00Z", "2026-01-31T08:00:60Z",
     "2026-01-31T08:00:00+05:99", "2026-01-31T08:00:00+24:00", "2026-01-31T08:00:00+0500", "2026-01-31T08:00:00.Z",
     "0000-01-01T00:00:00Z", "26-01-31T08:00:00Z", "2026-W05-6T08:00:00Z",
     "\N{FULLWIDTH DIGIT TWO}026-01-31T08:00:00Z"],
)  # fmt: skip
def test_what_is_not_a_time_is_refused(value: str) -> None:
    assert fields(refusal(body_of(b"1", timestamp=value))) == ["timestamp"]


@pytest.mark.parametrize("inner", [b"", b"1", b'"[[[["', b'{"a":"]]"}'])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"k":', b"}"), (b'[{"k":[', b"]}]")])
def test_data_may_be_nested_64_deep_and_no_deeper(opening: bytes, closing: bytes, inner: bytes) -> None:
    step = opening.count(b"[") + opening.count(b"{")
    room = 64 - inner.startswith(b"{")
    inner = inner if inner or opening == b"[" else b"1"

    def nested(times: int) -> bytes:
        return opening * times + inner + closing * times

    publish(body_of(nested(room // step)))
    exc = refusal(body_of(nested(room // step + 1)))
    assert fields(exc) == ["data"]
    assert "64 levels" in exc.message


@pytest.mark.parametrize(
    "data", [b"[" + b",".join([b"[]"] * 500) + b"]", b"[" + b",".join([b'{"a":[{}]}'] * 500) + b"]"]
)
def test_wide_is_not_deep(data: bytes) -> None:
    publish(body_of(data))


@given(st.text(alphabet='[]{}"\\\n', max_size=200), st.integers(0, 64))
@example('"\\' + "[" * 150, 63)
def test_brackets_in_strings_are_not_levels(text: str, depth: int) -> None:
    string = json.dumps(text).encode()
    publish(body_of(b"[" * depth + string + b"]" * depth))
    deep = b"[" * 65 + string + b"]" * 65
    assert fields(refusal(body_of(b'{"a":' + string + b',"b":' + deep + b"}"))) == ["data"]


@pytest.mark.parametrize("levels", [1000, 100_000])
def test_data_too_deep_for_any_parser_is_refused_as_too_deep(levels: int) -> None:
    exc = refusal(body_of(b"[" * levels + b"]" * levels))
    assert isinstance(exc, Invalid)
    assert "64 levels" in exc.message


def test_the_depth_of_a_long_string_costs_no_more_memory_than_the_string() -> None:
    body = body_of(b'["' + b"a" * 3_000_000 + b'",' + b",".join([b"[]"] * 100) + b"]")
    tracemalloc.start()
    try:
        publish(body, max_bytes=events.MAX_BATCH_BYTES)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(body)


@pytest.mark.parametrize("extra", [0, 1])
def test_an_event_may_have_as_many_bytes_as_allowed_and_no_more(extra: int) -> None:
    [small] = publish(body_of(b'""'))
    data = b'"' + b"a" * (1000 - len(small.body) + extra) + b'"'
    if not extra:
        assert len(publish(body_of(data), max_bytes=1000)[0].body) == 1000
        return
    exc = refusal(body_of(data), max_bytes=1000)
    assert isinstance(exc, PayloadTooLarge)
    assert fields(exc) == ["event"]
    assert "1001 bytes; allowed are 1000" in exc.message
    assert fields(refusal(b"[" + body_of(b"1") + b"," + body_of(data) + b"]", max_bytes=1000)) == ["[1]"]


def test_a_body_may_have_4_mib_and_no_more() -> None:
    body = b"[" + body_of(b"1") + b"]"
    assert len(publish(body.ljust(events.MAX_BATCH_BYTES))) == 1
    exc = refusal(body.ljust(events.MAX_BATCH_BYTES + 1))
    assert isinstance(exc, PayloadTooLarge)
    assert "4194304" in exc.message


def test_a_batch_may_have_1000_events_and_no_more() -> None:
    one = body_of(b"1")
    assert len(publish(b"[" + b",".join([one] * 1000) + b"]")) == 1000
    assert isinstance(refusal(b"[" + b",".join([one] * 1001) + b"]"), PayloadTooLarge)


def test_an_id_is_255_visible_characters_at_most() -> None:
    [event] = publish(body_of(b"1", id="!~" * 127 + "a"))
    assert len(event.id) == 255


def test_a_fresh_id_is_a_uuid_of_version_7_that_carries_its_time() -> None:
    value = events.new_id(NOW)
    assert re.fullmatch(r"evt_[0-9a-f]{32}", value)
    parsed = uuid.UUID(value[4:])
    assert (parsed.version, parsed.variant, parsed.int >> 80) == (7, uuid.RFC_4122, NOW)


def test_fresh_ids_differ_and_sort_by_time() -> None:
    ids = [events.new_id(NOW + n) for n in range(1000)]
    assert ids == sorted(ids)
    assert len({events.new_id(NOW) for _ in range(1000)}) == 1000


def test_a_derived_id_depends_on_each_of_its_parts_and_on_nothing_else() -> None:
    parts = [("a", "k", 0), ("b", "k", 0), ("a", "l", 0), ("a", "k", 1), ("ak", "", 0), ("a", "k1", 0), ("a", "k", 10)]
    ids = [events.derived_id(*part) for part in parts]
    assert len(set(ids)) == len(parts)
    assert ids == [events.derived_id(*part) for part in parts]
    assert all(re.fullmatch(r"evt_[0-9a-f]{32}", value) for value in ids)


def test_a_derived_id_is_the_same_in_every_version() -> None:
    # A retry that meets the next version of the hub must still find what the last one appended.
    assert events.derived_id("default", "key-1", 0) == "evt_e4e4cc6fdd1e536fcb9b91b6c73bd214"


@given(st.integers(0, 4_102_444_800_000))
def test_a_time_is_written_to_its_millisecond(now_ms: int) -> None:
    text = events.now_text(now_ms)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert round(datetime.fromisoformat(text).timestamp() * 1000) == now_ms


def test_bytes_that_are_utf8_pass() -> None:
    events.check_text("é\0".encode())
    with pytest.raises(InvalidJson):
        events.check_text(b"\xed\xa0\x80")
