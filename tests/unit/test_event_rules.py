"""Events: the rules for their times, depth, size and ids."""

import contextlib
import itertools
import json
import re
import tracemalloc
import uuid
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub.core import event as events
from hub.core.errors import Invalid, InvalidJson, PayloadTooLarge
from hub.core.event import EventInput
from tests.support.payloads import LIMIT, NOW, body_of, fields, publish, refusal


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


def test_the_fresh_ids_of_a_batch_are_uuids_that_sort_in_its_order() -> None:
    ids = list(itertools.islice(events.new_ids(NOW), 1000))
    assert ids == sorted(set(ids))
    assert {(uuid.UUID(one[4:]).version, uuid.UUID(one[4:]).variant) for one in ids} == {(7, uuid.RFC_4122)}


def derived(app: str, key: str, index: int) -> str:
    return next(itertools.islice(events.derived_ids(app, key), index, None))


def test_a_derived_id_depends_on_each_of_its_parts_and_on_nothing_else() -> None:
    parts = [("a", "k", 0), ("b", "k", 0), ("a", "l", 0), ("a", "k", 1), ("ak", "", 0), ("a", "k1", 0), ("a", "k", 10)]
    ids = [derived(*part) for part in parts]
    assert len(set(ids)) == len(parts)
    assert ids == [derived(*part) for part in parts]
    assert all(re.fullmatch(r"evt_[0-9a-f]{32}", value) for value in ids)


def test_a_derived_id_is_the_same_in_every_version() -> None:
    # A retry that meets the next version of the hub must still find what the last one appended.
    assert derived("default", "key-1", 0) == "evt_e4e4cc6fdd1e536fcb9b91b6c73bd214"


@given(st.integers(0, 4_102_444_800_000))
def test_a_time_is_written_to_its_millisecond(now_ms: int) -> None:
    text = events.now_text(now_ms)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert round(datetime.fromisoformat(text).timestamp() * 1000) == now_ms


def test_bytes_that_are_utf8_pass() -> None:
    events.check_text("é\0".encode())
    with pytest.raises(InvalidJson):
        events.check_text(b"\xed\xa0\x80")
