"""Decoding errors turned into ours."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.decoding import from_msgspec
from hub.core.errors import Invalid, InvalidJson


class Line(msgspec.Struct, forbid_unknown_fields=True):
    n: int


class Order(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    lines: list[Line] = []
    notes: dict[str, int] = {}
    by_number: dict[int, int] = {}


def refusal(body: bytes, root: str = "") -> Invalid:
    with pytest.raises(msgspec.MsgspecError) as caught:
        msgspec.json.decode(body, type=Order)
    return from_msgspec(caught.value, root)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "name"),
        (b"5", "body"),
        (b'{"name":5}', "name"),
        (b'{"name":"a","more":1}', "more"),
        (b'{"name":"a","lines":{}}', "lines"),
        (b'{"name":"a","lines":[{"n":1},{}]}', "lines[1].n"),
        (b'{"name":"a","lines":[{"n":"x"}]}', "lines[0].n"),
        (b'{"name":"a","lines":[{"n":1,"more":1}]}', "lines[0].more"),
        (b'{"name":"a","lines":[[]]}', "lines[0]"),
        (b'{"name":"a","notes":{"k":"v"}}', "notes[...]"),
        (b'{"name":"a","by_number":{"k":1}}', "by_number"),
        (b'{"name":"a","a`b":1}', "a`b"),
        (b'{"name":"a","a\\nb":1}', "a\nb"),
    ],
)
def test_a_decoding_error_names_its_field(body: bytes, field: str) -> None:
    exc = refusal(body)
    assert type(exc) is Invalid
    assert [detail.field for detail in exc.details] == [field]
    assert " - at `" not in exc.message


def test_a_decoding_error_below_a_root_names_the_whole_path() -> None:
    assert refusal(b'{"name":5}', "[3]").details[0].field == "[3].name"
    assert refusal(b"5", "data").details[0].field == "data"
    assert refusal(b"{", "data").details[0].field == "data"


@pytest.mark.parametrize("body", [b"", b"{", b'{"name":"a"}}', b'{"name":"\\ud800"}', b"\xff"])
def test_what_is_not_json_is_said_to_be_so(body: bytes) -> None:
    exc = refusal(body)
    assert isinstance(exc, InvalidJson)
    assert exc.message.startswith("The body is not valid JSON: ")
    assert exc.details[0].field == "body"


def test_what_the_client_sent_is_not_sent_back_at_length() -> None:
    exc = refusal(b'{"name":"a","lines":[{"n":1,"' + b"k" * 1_000_000 + b'":1}]}')
    assert exc.details[0].field.startswith("lines[0].kkk")
    assert len(exc.message) < 1000
    assert len(exc.details[0].message) < 1000


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
        lambda name: name not in Order.__struct_fields__
    )
)
def test_an_unknown_field_of_any_name_is_refused_in_order(name: str) -> None:
    exc = refusal(msgspec.json.encode({"name": "a", name: 1}))
    assert len(exc.details) == 1
    msgspec.json.encode((exc.message, exc.details))
