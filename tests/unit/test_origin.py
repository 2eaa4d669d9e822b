"""The trace context that goes with an event, as W3C Trace Context has it (section 3.2)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core import event as events
from hub.core.event import EventInput
from hub.core.origin import Origin, check_traceparent, parse, traced

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_good_context_is_passed_on_as_it_came() -> None:
    assert check_traceparent(GOOD) == GOOD


def test_one_of_a_later_version_is_passed_on_as_version_00() -> None:
    assert check_traceparent("cc" + GOOD[2:]) == GOOD
    assert check_traceparent("cc" + GOOD[2:] + "-what-will-be") == GOOD


@pytest.mark.parametrize(
    "text",
    [
        None, 7, "", "00", GOOD.upper(), GOOD + "-", GOOD + "-more", GOOD[:-1], "ff" + GOOD[2:], " " + GOOD, GOOD + " ",
        GOOD + "\n", f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        "cc" + GOOD[2:] + "-" + "x" * 600,
    ],
)  # fmt: skip
def test_a_wrong_one_is_ignored(text: object) -> None:
    assert check_traceparent(text) is None


@given(st.text())
def test_any_text_is_judged_without_a_fault(text: str) -> None:
    assert check_traceparent(text) in (None, text)


@given(st.from_regex(r"[A-Za-z0-9._:-]{0,128}", fullmatch=True), st.sampled_from([None, GOOD]))
def test_an_origin_is_read_as_it_was_written(request_id: str, traceparent: str | None) -> None:
    assert parse(str(Origin(request_id, traceparent))) == Origin(request_id, traceparent)


def test_an_events_own_context_takes_the_place_of_the_requests() -> None:
    other = GOOD.replace("b7ad", "0001")
    assert traced(f"req_1 {other}", GOOD) == f"req_1 {GOOD}"
    assert traced("req_1", GOOD) == f"req_1 {GOOD}"
    assert traced(f"req_1 {other}", None) == f"req_1 {other}"


@pytest.mark.parametrize(("given", "kept"), [(GOOD, GOOD), ("nonsense", None), (7, None)])
def test_an_event_may_name_its_trace_by_the_extension_and_the_envelope_keeps_what_it_said(
    given: str | int, kept: str | None
) -> None:
    item = EventInput("orders.1", "order.created", msgspec.Raw(b"1"), extensions={"traceparent": given})
    built = events.build(item, id="evt_1", now_ms=0, max_bytes=10_000)
    assert built.traceparent == kept
    assert msgspec.json.decode(built.body)["extensions"] == {"traceparent": given}
