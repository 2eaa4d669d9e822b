"""JMESPath expressions of endpoints: which events they want (`filter`) and what they are sent (`transform`).

An owner's expression runs in a worker that serves everybody, so it is bounded twice: by its own size when it is
written, and by the work that it may do on one event, counted in steps and not by a clock, so that a retry ends the same
way.
"""

from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeAlias, cast

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

from hub.core.errors import Invalid

MAX_LENGTH: Final = 2000
MAX_NODES: Final = 200
MAX_DEPTH: Final = 30
MAX_STEPS: Final = 10_000
"""Steps on one event: a node that is visited, an element that a node yields, 16 characters of a text that it makes, and
8 of what is looked at otherwise: the elements that a function gets, and all that lies in what is made or compared. Some
3 to 10 ms."""
MAX_RESULT: Final = 1024 * 1024
"""Bytes of JSON that a transform may make."""
MAX_WEIGHT: Final = MAX_RESULT // 16
_CHARACTERS: Final = 16
_ELEMENTS: Final = 8
"""Elements that a function looks at in the time of a step."""
_EQUALITIES: Final = ("eq", "ne")
_NUMBERS: Final = (int, float)
_LARGE: Final = (str, list, dict)
_MAKERS: Final = frozenset(("function_expression", "flatten", "slice", "projection", "value_projection",
                            "filter_projection", "multi_select_list", "multi_select_dict"))  # fmt: skip
"""Nodes that make something new; what others yield is a part of the event."""


Weights: TypeAlias = dict[int, tuple[object, int]]
"""By identity, with the object, so that no other gets its place."""


class ExpressionFailed(Exception):
    """The expression can't be applied to this event; the message says why, without the event's data."""


class Meter:
    """Counts the steps of several expressions on one event down; what is left of them bounds the next one.

    `weights` are those of the event's parts, so that each is weighed once for all.
    """

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.weights: Weights = {}


class Expression:
    """An expression that was checked."""

    def __init__(self, text: str, field: str = "expression") -> None:
        """Raises Invalid, naming the field."""
        if not 0 < len(text) <= MAX_LENGTH:
            raise Invalid.field(field, f"has {len(text)} characters; allowed are 1 to {MAX_LENGTH}")
        try:
            self._tree = cast("dict[str, Any]", jmespath.compile(text).parsed)
        except (JMESPathError, ValueError, RecursionError) as exc:
            raise Invalid.field(field, f"is not JMESPath: {_first_line(exc)}") from None
        nodes = _check(self._tree, field, 1)
        if nodes > MAX_NODES:
            raise Invalid.field(field, f"has {nodes} parts; allowed are {MAX_NODES}")

    def matches(self, event: Any, meter: Meter | None = None) -> bool:
        """Whether the result is true in JMESPath's sense: not null, false, or an empty text, list or object.

        `meter` bounds it together with others.
        """
        found = self._search(event, meter)
        return not (found is None or found is False or found in ("", [], {}))

    def transform(self, event: Any) -> bytes:
        """The result as JSON; null counts as a failure. Both raise ExpressionFailed."""
        found = self._search(event)
        if found is None:
            raise ExpressionFailed("the result is null")
        try:
            encoded = _encode(found)
        except (msgspec.MsgspecError, RecursionError, TypeError, ValueError):
            raise ExpressionFailed("the result is not JSON") from None
        if len(encoded) > MAX_RESULT:
            raise ExpressionFailed(f"the result has {len(encoded)} bytes; allowed are {MAX_RESULT}")
        return encoded

    def _search(self, event: Any, meter: Meter | None = None) -> Any:
        most = MAX_STEPS if meter is None else max(0, min(MAX_STEPS, meter.left))
        interpreter = _Bounded(most, {} if meter is None else meter.weights)
        try:
            return interpreter.visit(self._tree, event)
        except ExpressionFailed:
            raise
        except JMESPathError as exc:
            raise ExpressionFailed(f"{type(exc).__name__}: a function got what it can't take") from None
        except Exception as exc:  # the library lets through what Python says of odd operands
            raise ExpressionFailed(type(exc).__name__) from None
        finally:
            if meter is not None:
                meter.left -= most - interpreter.left


class _Bounded(TreeInterpreter):
    """The library's interpreter, which stops when the steps are used up, or when what it makes grows too big.

    Parts of a result may be one object many times: `[@, @] | [@, @] | …` doubles at each bar and costs next to nothing
    until it is compared or written out. So the weight is that of the text that it stands for; over MAX_WEIGHT it fails.
    """

    def __init__(self, most: int, weights: Weights) -> None:
        super().__init__()
        self._most = self.left = most
        self._weights = weights

    def visit(self, node: Any, value: Any) -> Any:
        # In place of the library's own, and with no call that can be spared: this is what a step costs.
        kind = node["type"]
        found = _VISITS[kind](self, node, value)
        self.left -= 1
        if kind in _MAKERS:
            self._pay(found)
        if self.left < 0:
            self._stop()
        return found

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        """A function pays before it looks: `max(data.n)` 50 times over a long list has few nodes and yields little."""
        given = [self.visit(child, value) for child in node["children"]]
        for one in given:
            if isinstance(one, str) or node["value"] == "contains":  # which compares, however deep that goes
                self.left -= self._weight(one) // _ELEMENTS
            elif isinstance(one, list | dict):
                self.left -= len(cast("list[Any]", one)) // _ELEMENTS
        if self.left < 0:
            self._stop()
        return _call(node["value"], given)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        """Numbers have an order, and texts; between others there is none, and the result is null."""
        left, right = (self.visit(child, value) for child in node["children"])
        kind, other = cast("type[object]", type(left)), cast("type[object]", type(right))
        compare = _COMPARE[node["value"]]
        if node["value"] not in _EQUALITIES:
            has_order = (kind in _NUMBERS and other in _NUMBERS) or kind is other is str
            return compare(left, right) if has_order else None
        if kind is other and kind in _LARGE:
            self.left -= min(self._weight(left), self._weight(right)) // _ELEMENTS
            if self.left < 0:
                self._stop()
        return compare(left, right)

    def _pay(self, found: Any) -> None:
        """For what a node made, by its size."""
        if isinstance(found, str):
            self.left -= len(found) // _CHARACTERS
        elif isinstance(found, list | dict):
            self.left -= len(cast("list[Any]", found)) + self._weight(found) // _ELEMENTS

    def _stop(self) -> NoReturn:
        if self._most < MAX_STEPS:
            raise ExpressionFailed("the app's filters together take too many steps on this event")
        raise ExpressionFailed(f"it takes more than {MAX_STEPS} steps on this event")

    def _weight(self, value: Any) -> int:
        if isinstance(value, str):
            return 1 + len(value) // _CHARACTERS
        if isinstance(value, list):
            items = cast("list[Any]", value)
        elif isinstance(value, dict):
            pairs = cast("dict[str, Any]", value)
            items = [*pairs, *pairs.values()]
        else:
            return 1
        place = id(cast("object", value))
        known = self._weights.get(place)
        if known is not None:
            return known[1]
        weight = 1
        for item in items:
            weight += self._weight(item)
            if weight > MAX_WEIGHT:
                self.left -= MAX_WEIGHT // _ELEMENTS
                raise ExpressionFailed(f"what it makes of this event is too big; allowed are {MAX_RESULT} bytes")
        self._weights[place] = (value, weight)
        return weight


def _check(node: dict[str, Any], field: str, depth: int) -> int:
    """Raise Invalid for what would fail on every event, or too deep a tree; returns the number of nodes."""
    if depth > MAX_DEPTH:
        raise Invalid.field(field, f"is nested too deep; allowed are {MAX_DEPTH} levels")
    parts = cast("list[Any]", node.get("children", []))  # a slice's are numbers
    children = [cast("dict[str, Any]", part) for part in parts if isinstance(part, dict)]
    if node["type"] == "function_expression":
        _check_call(node["value"], len(children), field)
    return 1 + sum(_check(child, field, depth + 1) for child in children)


def _check_call(name: str, given: int, field: str) -> None:
    known = cast("dict[str, dict[str, Any]]", Functions.FUNCTION_TABLE).get(name)
    if known is None:
        raise Invalid.field(field, f"has an unknown function, {name[:40]}()")
    wanted = known["signature"]
    variadic = bool(wanted and wanted[-1].get("variadic"))
    if given < len(wanted) or (given > len(wanted) and not variadic):
        raise Invalid.field(field, f"calls {name}() with {given} arguments; it takes {len(wanted)}")


def _first_line(exc: BaseException) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0][:200]


_VISITS: Final[dict[str, Callable[[_Bounded, Any, Any], Any]]] = {
    name.removeprefix("visit_"): getattr(_Bounded, name) for name in dir(_Bounded) if name.startswith("visit_")
}
_COMPARE: Final = TreeInterpreter.COMPARATOR_FUNC
_encode = msgspec.json.Encoder().encode
_call = cast("Callable[[str, list[Any]], Any]", Functions().call_function)
