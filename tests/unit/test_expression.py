"""JMESPath expressions: what they answer, and that none can cost more than it may."""

import time
from typing import Any

import msgspec
import pytest

from hub.core.errors import Invalid
from hub.core.expression import MAX_LENGTH, MAX_RESULT, Expression, ExpressionFailed, Meter

EVENT: dict[str, Any] = {
    "id": "evt_1",
    "type": "order.created",
    "topic": "orders.42",
    "data": {
        "total": 120,
        "paid": False,
        "tags": ["new", "big"],
        "lines": [{"sku": "a", "n": 2}, {"sku": "b", "n": 1}],
    },
}
LARGE = {"data": {"items": [{"x": n, "name": "y" * 20} for n in range(5000)], "n": [n % 10 for n in range(60_000)]}}


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("data.total > `100`", True),
        ("data.total > `200`", False),
        ("type == 'order.created' && contains(data.tags, 'big')", True),
        ("data.lines[?n > `1`]", True),
        ("data.lines[?n > `2`]", False),
        ("data.paid", False),
        ("data.nothing", False),
        ("data.total", True),
        ("`0`", True),
        ("''", False),
        ("`{}`", False),
        ("data.nothing > `1`", False),
        ("data.tags[0] > `1`", False),
        ("data.total > 'a'", False),
        ("data.paid >= `0`", False),
        ("data.tags < data.lines", False),
        ("data.tags[0] > 'a'", True),
        ("data.total != 'a'", True),
        ("data.tags == ['new', 'big']", True),
        ("data.lines[0] != {sku: 'a', n: `2`}", False),
    ],
)
def test_a_filter_matches_by_what_jmespath_takes_for_true(text: str, verdict: bool) -> None:
    assert Expression(text).matches(EVENT) is verdict


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("data", EVENT["data"]),
        (
            "{order: topic, sum: data.total, skus: data.lines[].sku}",
            {"order": "orders.42", "sum": 120, "skus": ["a", "b"]},
        ),
        ("data.paid", False),
        ("[type, `1.5`]", ["order.created", 1.5]),
    ],
)
def test_a_transform_makes_json_of_its_result(text: str, result: Any) -> None:
    assert msgspec.json.decode(Expression(text).transform(EVENT)) == result


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a ||",
        "a b",
        "'open",
        "a" * (MAX_LENGTH + 1),
        "a" + ".b" * 400,
        "(" * 900 + "a" + ")" * 900,
        "!" * 1500 + "a",
        "to_array(" * 31 + "a" + ")" * 31,
        "nothing(a)",
        "length(a, b)",
        "join('x')",
    ],
)
def test_what_is_no_expression_or_too_big_a_one_is_refused_by_name(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        Expression(text, "filter")
    assert refused.value.details[0].field == "filter"
    assert len(refused.value.message) < 400


@pytest.mark.parametrize(
    "text",
    [
        "length(data.nothing)",
        "sum(data.tags)",
        "max_by(data.lines, n)",
        "data.tags[::0] && sort_by(data.lines, &nothing)",
    ],
)
def test_what_a_function_cannot_take_fails_without_telling_of_the_data(text: str) -> None:
    for act in (Expression(text).matches, Expression(text).transform):
        with pytest.raises(ExpressionFailed) as failed:
            act(EVENT)
        assert "big" not in str(failed.value)


def test_a_transform_to_null_fails() -> None:
    with pytest.raises(ExpressionFailed, match="null"):
        Expression("data.nothing").transform(EVENT)


def test_a_result_that_is_too_big_to_send_fails_also_where_nothing_was_made() -> None:
    fits, over = {"data": "x" * (MAX_RESULT - 2)}, {"data": "x" * (MAX_RESULT - 1)}
    assert len(Expression("data").transform(fits)) == MAX_RESULT
    with pytest.raises(ExpressionFailed, match=f"{MAX_RESULT + 1} bytes"):
        Expression("data").transform(over)


DOUBLING = "[@, @]" + " | [@, @]" * 25


@pytest.mark.parametrize(
    "text",
    [
        DOUBLING,
        f"to_string({DOUBLING})",
        "{a: @, b: @}" + " | {a: @, b: @}" * 15,
        "[@, @][]" + " | [@, @][]" * 20,
        "to_string(@)" + " | to_string(@)" * 20,
        "data.items[0].name | join('', [@, @])" + " | join('', [@, @])" * 20,
        "data.items[].[x, x, x, x, x][]",
        "data.items[?name == 'z'].x",
        "map(&map(&x, [@, @]), data.items)",
        "sort_by(data.items, &name)",
        "[" + ", ".join(["max(data.n)"] * 45) + "]",
        "[" + ", ".join(["sum(data.n)"] * 45) + "]",
        "[" + ", ".join(["contains(data.n, `11`)"] * 35) + "]",
    ],
)
def test_an_expression_that_would_take_too_much_time_or_room_fails_soon(text: str) -> None:
    expression = Expression(text)
    for act in (expression.matches, expression.transform):
        began = time.process_time()
        with pytest.raises(ExpressionFailed):
            act(LARGE)
        assert time.process_time() - began < 1  # some 20 ms; without a bound, minutes


@pytest.mark.parametrize(
    "text",
    [
        "[@, @] | length(@)",
        "{a: data, b: data} | length(@)",
        "[[[data.n]]] | length(@)",
        "data.n == data.m",
        "data.n != data.m",
        "data.deep == data.deeper",
        "data.text == data.other",
        "contains(data.deep, data.deeper[0])",
        "contains(data.text, 'no')",
        "starts_with(data.text, 'no')",
        "reverse(data.text) && `true`",
    ],
)
def test_what_looks_at_much_by_few_parts_soon_uses_up_what_expressions_have_together(text: str) -> None:
    digits, wide = [n % 10 for n in range(50_000)], "y" * 200_000
    data = {"n": digits, "m": [*digits], "deep": [[digits]], "deeper": [[[*digits]]], "text": wide, "other": wide + "y"}
    data["other"] = data["other"][1:]  # the same, and not the same object
    expression, meter, failures = Expression(text), Meter(50_000), list[str]()
    began = time.process_time()
    for _ in range(60):
        try:
            expression.matches({"data": data}, meter)
        except ExpressionFailed as exc:
            failures.append(str(exc))
    assert "together" in failures[-1]
    assert time.process_time() - began < 0.3  # some 40 ms


def test_expressions_share_a_meter_and_what_is_left_of_it_bounds_the_next_one() -> None:
    meter, expression = Meter(1000), Expression("data.items[:200].x | length(@) > `0`")
    assert expression.matches(LARGE, meter)
    assert 0 < meter.left < 800  # what is left is too little for another one
    meter.left %= 200
    with pytest.raises(ExpressionFailed, match="together"):
        expression.matches(LARGE, meter)
    assert meter.left <= 0
    assert expression.matches(LARGE)
    with pytest.raises(ExpressionFailed, match="together"):
        Expression("id").matches(LARGE, Meter(0))


def test_the_same_event_always_ends_the_same_way() -> None:
    expression = Expression("data.items[?x > `10`] | length(@)")
    assert [expression.matches({"data": {"items": LARGE["data"]["items"][:1000]}}) for _ in range(3)] == [True] * 3
