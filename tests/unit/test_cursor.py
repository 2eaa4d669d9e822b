"""Cursors: one text for each place, and nothing else is one."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hub.core import cursor as cursors
from hub.core.cursor import START, Cursor, Mark, Position
from hub.core.errors import InvalidCursor

U64 = 2**64 - 1
number = st.one_of(st.integers(0, 300), st.integers(0, U64), st.just(U64))
position = st.tuples(number, number)


def _ordered(marks: list[Mark]) -> Cursor:
    return tuple(sorted(marks))


cursor_strategy = st.lists(
    st.builds(Mark, number, number, number, number), min_size=1, max_size=8, unique_by=lambda mark: mark.partition
).map(_ordered)
near_cursor = st.one_of(
    st.text(max_size=40), st.text(alphabet="019afAFx-_+ \n\N{ARABIC-INDIC DIGIT ONE}", max_size=40),
    st.from_regex(r"[0-9a-f]{1,17}(-[0-9a-f]{1,17}){2,4}(_[0-9a-f]-[0-9a-f]-[0-9a-f]-[0-9a-f])*\n?", fullmatch=True),
)  # fmt: skip


def _or_none(text: str) -> Cursor | None:
    try:
        return cursors.decode(text)
    except InvalidCursor:
        return None


@given(cursor_strategy)
def test_a_cursor_reads_back_as_it_was_written(cursor: Cursor) -> None:
    assert cursors.decode(cursors.encode(cursor)) == cursor


@given(cursor_strategy)
def test_a_cursor_needs_no_escaping_anywhere(cursor: Cursor) -> None:
    assert re.fullmatch(r"[0-9a-f_-]+", cursors.encode(cursor), re.ASCII)


@given(near_cursor)
@settings(max_examples=400)
@example("0-0-0-0")
@example("0-0-0-0\n")
@example("0-0-0-00")
@example("0-0-0-A")
def test_arbitrary_text_is_refused_or_is_the_one_spelling(text: str) -> None:
    cursor = _or_none(text)
    assert cursor is None or cursors.encode(cursor) == text


@given(cursor_strategy, st.data())
def test_a_changed_cursor_is_refused_or_is_the_one_spelling_of_another(cursor: Cursor, data: st.DataObject) -> None:
    text = cursors.encode(cursor)
    at = data.draw(st.integers(0, len(text)))
    changed = text[:at] + data.draw(st.sampled_from(["", "0", "f", "F", "-", "_", " ", "+", "é"])) + text[at + 1 :]
    again = _or_none(changed)
    assert again is None or cursors.encode(again) == changed


@pytest.mark.parametrize(
    "text",
    ["", "_", "0", "0-0-0", "0-0-0-0-0", "0-0-0-0_", "_0-0-0-0", "0-0-0-0_0-0-0-1", "1-0-0-0_0-0-0-0", "00-0-0-0",
     "0-0-0-0 ", " 0-0-0-0", "0-0-0-0\n", "0-0-0-0x", "0x0-0-0-0", "0-0--1-0", "0-0-10000000000000000-0", "0-0-0-1F",
     "$", "1526919030474-55", "0-0-0-\N{ARABIC-INDIC DIGIT ONE}", "0-0-0-\ud800"],
)  # fmt: skip
def test_what_is_not_a_cursor_is_refused_with_its_field_named(text: str) -> None:
    with pytest.raises(InvalidCursor) as caught:
        cursors.decode(text, "after")
    assert caught.value.code == "INVALID_CURSOR"
    assert caught.value.details[0].field == "after"
    assert caught.value.message.startswith("after: ")


def test_a_long_text_is_refused_before_it_is_taken_apart() -> None:
    marks = [Mark(n, 1, 2, 3) for n in range(2000)]
    with pytest.raises(InvalidCursor) as caught:
        cursors.decode(cursors.encode(marks))
    assert len(caught.value.message) < 200


def test_the_longest_cursor_of_the_most_partitions_is_accepted() -> None:
    marks = tuple(Mark(n, U64, U64, U64) for n in range(64))
    assert cursors.decode(cursors.encode(marks)) == marks


def test_a_cursor_is_spelt_in_lower_case_hexadecimal() -> None:
    assert cursors.encode([Mark(0, 1, 0x19A, 0), Mark(10, 2, 3, 4)]) == "0-1-19a-0_a-2-3-4"


def test_a_mark_knows_its_position() -> None:
    assert Mark(1, 2, 3, 4).position == (3, 4)


@given(position)
def test_a_stream_id_reads_back_as_it_was_written(at: Position) -> None:
    assert cursors.parse_id(cursors.format_id(at).encode()) == at


@given(position, position)
def test_nothing_lies_between_a_position_and_the_one_before(at: Position, other: Position) -> None:
    below = cursors.before(at)
    assert below >= START
    assert below < at or at == START
    assert not below < other < at
    assert below[1] <= U64


def test_before_the_first_of_a_millisecond_lies_the_last_of_the_millisecond_before() -> None:
    assert cursors.before((5, 0)) == (4, U64)
    assert cursors.before((5, 1)) == (5, 0)
    assert cursors.before(START) == START
