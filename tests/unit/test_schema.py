"""JSON Schema for events' data: what is refused, how it is named, and that it costs a bounded amount."""

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.errors import Invalid
from hub.core.schema import MAX_FAULTS, Schema

ORDER = {
    "type": "object",
    "properties": {
        "total": {"type": "number", "minimum": 0},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "maxItems": 3, "uniqueItems": True},
        "code": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"},
    },
    "required": ["total"],
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}},
}


KNOWN = Schema(ORDER)


def faults(schema: Any, data: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        Schema(schema).check(data)
    return {detail.field: detail.message for detail in refused.value.details}


def refused(schema: Any) -> tuple[str, str]:
    with pytest.raises(Invalid) as raised:
        Schema(schema)
    return raised.value.details[0]


def test_data_that_is_as_the_schema_says_is_taken() -> None:
    good: list[Any] = [{"total": 1}, {"total": 0, "lines": [{"sku": "a"}], "code": "AB1"}, {"total": 1.5, "lines": []}]
    for data in good:
        KNOWN.check(data)


def test_each_fault_is_named_by_its_path_and_shows_nothing_of_the_value() -> None:
    data = {"total": -1, "lines": [{"sku": "a"}, {"sku": 5}, {}], "code": "secret", "extra": 1}
    assert faults(ORDER, data) == {
        "data.total": "breaks the schema's minimum: 0",
        "data.lines[1].sku": 'breaks the schema\'s type: "string"',
        "data.lines[2]": "'sku' is a required property",
        "data.code": 'breaks the schema\'s pattern: "^[A-Z]{2}[0-9]+$"',
        "data": "has 'extra', which the schema doesn't know",
    }


def test_at_most_some_faults_are_told() -> None:
    assert len(faults({"items": {"type": "string"}}, list(range(100)))) == MAX_FAULTS


MEANINGS: list[tuple[Any, Any, str | None]] = [
    (True, None, None),
    (False, 1, "data"),
    ({"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": False}, {"x-a": "b"}, None),
    ({"patternProperties": {"^x-": {"type": "string"}}}, {"x-a": 1}, "data.x-a"),
    ({"patternProperties": {"^x-": {}}, "additionalProperties": {"type": "null"}}, {"y": 1}, "data.y"),
    ({"uniqueItems": True}, [1, 2, {"a": 1, "b": 2}, {"b": 2, "a": 1}], "data"),
    ({"uniqueItems": True}, [1, True, "1", None, 0, False], None),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"type": "null"}},
      "items": {"$ref": "#/definitions/a"}}, [None, 1], "data[1]"),
    ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, {"a": 1, "b": 2}, "data"),
    ({"$ref": "#/$defs/node", "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}},
      "required": ["value"]}}}, {"value": 1, "next": {"value": 2, "next": {}}}, "data.next.next"),
    ({"format": "email"}, "not an address", None),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "data", "field"), MEANINGS)
def test_keywords_mean_what_the_specification_says(schema: Any, data: Any, field: str | None) -> None:
    if field is None:
        Schema(schema).check(data)
    else:
        assert list(faults(schema, data)) == [field]


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ([], "schema"),
        ({"type": "strange"}, "schema.type"),
        ({"properties": {"a": {"minimum": "x"}}}, "schema.properties.a.minimum"),
        ({"$ref": "https://example.com/schema"}, "schema.$ref"),
        ({"items": {"$ref": "other.json#/a"}}, "schema.items.$ref"),
        ({"$ref": "#/$defs/none"}, "schema.$ref"),
        ({"properties": {"a": {"$id": "https://example.com/"}}}, "schema.properties.a.$id"),
        ({"$dynamicRef": "#a"}, "schema.$dynamicRef"),
        ({"$schema": "http://json-schema.org/draft-03/schema"}, "schema.$schema"),
        ({"pattern": "(?=a)b"}, "schema.pattern"),
        ({"pattern": "(a)\\1"}, "schema.pattern"),
        ({"pattern": "a" * 501}, "schema.pattern"),
        ({"patternProperties": {"(": {}}}, "schema.patternProperties"),
        ({"patternProperties": {}, "unevaluatedProperties": False}, "schema"),
        ({"description": "x" * 40_000}, "schema"),
        ({"enum": list(range(2000))}, "schema"),
    ],
)
def test_what_is_no_schema_or_reaches_outside_is_refused_by_place(schema: Any, field: str) -> None:
    assert refused(schema)[0] == field


def test_a_schema_nested_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(40):
        schema = {"items": schema}
    assert "too deep" in refused(schema)[1]


def deep(levels: int) -> Any:
    data: Any = 1
    for _ in range(levels):
        data = {"a": data}
    return data


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"$ref": "#"}, 1),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#"}}}, 1),
        ({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}, deep(60)),
        ({"allOf": [{"not": {"enum": ["x"]}}] * 200}, ["y" * 100] * 2000),
        ({"anyOf": [{"type": "string"}, {"maxItems": 1}] * 100}, list(range(50_000))),
        ({"items": {"items": {"items": {"type": "integer", "minimum": 0}}}}, [[[1] * 50] * 50] * 50),
    ],
)
def test_what_would_cost_too_much_is_refused_and_soon(schema: Any, data: Any) -> None:
    began = time.process_time()
    found = faults(schema, data)
    assert list(found) == ["data"]
    assert "steps" in found["data"] or "deep" in found["data"]
    assert time.process_time() - began < 3


def test_a_pattern_that_python_would_try_for_ever_is_linear() -> None:
    schema = Schema({"pattern": "^(a+)+$", "patternProperties": {"^(a|a)*$": {}}})
    began = time.process_time()
    with pytest.raises(Invalid):
        schema.check("a" * 50_000 + "!")
    schema.check({"a" * 50_000 + "!": 1})
    assert time.process_time() - began < 3


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_no_schema_document_makes_more_than_invalid(document: Any) -> None:
    with contextlib.suppress(Invalid):
        Schema(document)


@given(json_values)
def test_no_data_makes_more_than_invalid(data: Any) -> None:
    with contextlib.suppress(Invalid):
        KNOWN.check(data)
