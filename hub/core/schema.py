"""JSON Schema (2020-12, or draft 7) for the data of an event type, checked when it is published.

A schema is its app's own and is applied in a process that serves everybody, so it is bounded: in size when it is
written, and by the work that it may cost on one event, counted in steps. It refers to nothing outside of itself, and
its patterns are those of RE2, whose cost grows with the text alone.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

import msgspec
import re2
from jsonschema import Draft7Validator, Draft202012Validator, SchemaError, ValidationError, validators
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from hub.core.errors import Detail, Invalid

MAX_BYTES: Final = 32 * 1024
MAX_DEPTH: Final = 30
MAX_NODES: Final = 1000
MAX_PATTERN: Final = 500
MAX_STEPS: Final = 10_000
"""Steps on one event: a keyword that is applied, or 256 characters that it looks at. Some 200 ms at most."""
MAX_FAULTS: Final = 10
_CHARACTERS: Final = 256
_DRAFTS: Final = {
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
    "http://json-schema.org/draft-07/schema": Draft7Validator,
}
_NO_OTHERS: Final[Registry[Any]] = cast("Any", Registry)()
_TELLING: Final = frozenset(("required", "additionalProperties", "unevaluatedProperties", "dependentRequired"))
"""Keywords whose message names the property that is at fault; others would show what was published."""
_LIGHT: Final = frozenset(("type", "properties", "required", "items", "$ref", "additionalProperties"))
"""Keywords that cost no more on a large value than on a small one."""
_REGEX = cast("Any", re2)
_OPTIONS: Any = _REGEX.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1024 * 1024

Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]


class Schema:
    """A schema that was checked."""

    def __init__(self, document: Any, field: str = "schema", *, is_known: bool = False) -> None:
        """Raises Invalid, naming the place. One that `is_known` was checked before, which takes the most of it."""
        draft = _draft_of(document, field) if is_known else _check_document(document, field)
        self._patterns = {text: _compile(text, place) for text, place in _patterns(document, field)}
        self._budget = _Budget()
        keywords = {**draft.VALIDATORS, **self._own_keywords()}
        counted = {name: self._counted(name, keyword) for name, keyword in keywords.items()}
        made = cast("Any", validators.extend(draft, counted))
        self._validator: Validator = made(document, registry=_NO_OTHERS)
        if not is_known:
            self._check_references(document, field)

    def check(self, data: Any, field: str = "data") -> None:
        """Raise Invalid unless the data is as the schema says; `details` name up to MAX_FAULTS places."""
        self._budget.renew()
        found: list[Detail] = []
        try:
            for fault in self._validator.iter_errors(data):
                found.append(Detail(field + _path(fault.absolute_path), _message(fault)))
                if len(found) == MAX_FAULTS:
                    break
        except _TooMuch:
            raise Invalid.field(field, f"takes more than {MAX_STEPS} steps of its type's schema") from None
        except RecursionError:
            raise Invalid.field(field, "is nested too deep for its type's schema") from None
        if found:
            raise Invalid(f"{found[0].field}: {found[0].message}", tuple(found))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _counted(self, name: str, keyword: Keyword) -> Keyword:
        budget = self._budget

        def applied(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
            budget.spend(1 if name in _LIGHT else 1 + budget.weight(instance) // _CHARACTERS)
            yield from keyword(validator, value, instance, schema) or ()

        return applied

    def _own_keywords(self) -> dict[str, Keyword]:
        """Those that the library would apply by Python's regular expressions, or at a cost that isn't bounded."""
        patterns = self._patterns

        def pattern(_validator: Any, text: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
            if isinstance(instance, str) and patterns[text].search(instance) is None:
                yield ValidationError("does not match")

        def pattern_properties(validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
            if isinstance(instance, dict):
                held = cast("dict[str, Any]", instance)
                for text, schema in value.items():
                    for name in (name for name in held if patterns[text].search(name) is not None):
                        yield from validator.descend(held[name], schema, path=name, schema_path=text)

        def additional(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
            if not isinstance(instance, dict):
                return
            held, known = cast("dict[str, Any]", instance), schema.get("properties", {})
            matchers = [patterns[text] for text in schema.get("patternProperties", {})]
            for name in held:
                if name in known or any(one.search(name) is not None for one in matchers):
                    continue
                if value is False:
                    yield ValidationError(f"has {name[:80]!r}, which the schema doesn't know")
                else:
                    yield from validator.descend(held[name], value, path=name)

        def unique(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
            if wanted and isinstance(instance, list):
                items = cast("list[Any]", instance)
                if len({msgspec.json.encode(one, order="deterministic") for one in items}) < len(items):
                    yield ValidationError("has an element twice")

        def kind(validator: Any, types: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
            names = [types] if isinstance(types, str) else types
            if not any(validator.is_type(instance, name) for name in names):
                yield ValidationError("is of another type")

        return {"pattern": pattern, "patternProperties": pattern_properties, "additionalProperties": additional,
                "uniqueItems": unique, "type": kind}  # fmt: skip

    def _check_references(self, document: Any, field: str) -> None:
        """Raise Invalid where a reference leads nowhere."""
        resolver = cast("Any", self._validator)._resolver
        for node, place in _nodes(document, field, 1):
            if isinstance(node, dict) and isinstance(target := cast("dict[str, Any]", node).get("$ref"), str):
                try:
                    resolver.lookup(target)
                except (Unresolvable, ValueError, TypeError):
                    raise Invalid.field(f"{place}.$ref", f"{target[:80]!r} leads nowhere in this schema") from None


class _TooMuch(Exception):
    """The budget is used up."""


class _Budget:
    """The steps that are left for an event. `weight` is roughly the characters of a value as text."""

    def __init__(self) -> None:
        self._left = MAX_STEPS
        self._weights: dict[int, int] = {}

    def renew(self) -> None:
        self._left = MAX_STEPS
        self._weights = {}

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise _TooMuch

    def weight(self, value: Any) -> int:
        if isinstance(value, str):
            return len(value)
        if not isinstance(value, dict | list):
            return 8
        place = id(cast("object", value))
        if place not in self._weights:  # the data outlives the check, so no other value gets its place
            if isinstance(value, dict):
                pairs = cast("dict[str, Any]", value)
                self._weights[place] = sum(len(name) + self.weight(one) for name, one in pairs.items())
            else:
                self._weights[place] = sum(map(self.weight, cast("list[Any]", value)))
        return self._weights[place]


def _check_document(document: Any, field: str) -> Any:
    """The draft's class; raises Invalid for what is too big, reaches outside, or isn't a schema."""
    if not isinstance(document, dict | bool):
        raise Invalid.field(field, "is neither an object nor true or false")
    size = len(msgspec.json.encode(document))
    if size > MAX_BYTES:
        raise Invalid.field(field, f"has {size} bytes; allowed are {MAX_BYTES}")
    names: set[str] = set()
    for count, (node, place) in enumerate(_nodes(document, field, 1), 1):
        if count > MAX_NODES:
            raise Invalid.field(field, f"has over {MAX_NODES} parts")
        if isinstance(node, dict):
            names.update(cast("dict[str, Any]", node))
            _check_node(cast("dict[str, Any]", node), place, place == field)
    if "patternProperties" in names and names & {"unevaluatedProperties", "unevaluatedItems"}:
        raise Invalid.field(field, "has patternProperties beside unevaluated…; allowed is one of them")
    draft = _draft_of(document, field)
    try:
        draft.check_schema(document)
    except SchemaError as exc:
        raise Invalid.field(field + _path(exc.absolute_path), f"is not JSON Schema: {exc.message[:200]}") from None
    return draft


def _draft_of(document: Any, field: str) -> Any:
    given = cast("dict[str, Any]", document).get("$schema") if isinstance(document, dict) else None
    draft = _DRAFTS.get(given.rstrip("#") if isinstance(given, str) else next(iter(_DRAFTS)))
    if draft is None or not (given is None or isinstance(given, str)):
        raise Invalid.field(f"{field}.$schema", f"is not a draft that is known here; allowed: {', '.join(_DRAFTS)}")
    return draft


def _check_node(node: dict[str, Any], place: str, is_root: bool) -> None:
    for name in ("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", *(() if is_root else ("$id", "$schema"))):
        if name in node and isinstance(node[name], str):
            raise Invalid.field(f"{place}.{name}", "is not allowed here; refer to a part by $ref: #/$defs/…")
    target = node.get("$ref")
    if isinstance(target, str) and target != "#" and not target.startswith("#/"):
        raise Invalid.field(f"{place}.$ref", f"{target[:80]!r} is not allowed; a schema refers to its own parts, #/…")


def _nodes(node: Any, place: str, depth: int) -> Iterator[tuple[Any, str]]:
    """Every value of the document with its place, or Invalid where it is nested too deep."""
    if depth > MAX_DEPTH:
        raise Invalid.field(place[:200], f"is nested too deep; allowed are {MAX_DEPTH} levels")
    yield node, place
    if isinstance(node, dict):
        for name, value in cast("dict[str, Any]", node).items():
            yield from _nodes(value, f"{place}.{name[:80]}", depth + 1)
    elif isinstance(node, list):
        for n, value in enumerate(cast("list[Any]", node)):
            yield from _nodes(value, f"{place}[{n}]", depth + 1)


def _patterns(document: Any, field: str) -> Iterator[tuple[str, str]]:
    for node, place in _nodes(document, field, 1):
        if isinstance(node, dict):
            held = cast("dict[str, Any]", node)
            if isinstance(text := held.get("pattern"), str):
                yield text, f"{place}.pattern"
            if isinstance(several := held.get("patternProperties"), dict):
                yield from ((name, f"{place}.patternProperties") for name in cast("dict[str, Any]", several))


def _compile(text: str, place: str) -> Any:
    if len(text) > MAX_PATTERN:
        raise Invalid.field(place, f"has {len(text)} characters; allowed are {MAX_PATTERN}")
    try:
        return _REGEX.compile(text, _OPTIONS)
    except _REGEX.error as exc:
        reason = exc.args[0].decode(errors="replace") if exc.args and isinstance(exc.args[0], bytes) else str(exc)
        raise Invalid.field(place, f"is not a pattern that is known here (RE2's syntax): {reason[:120]}") from None


def _path(parts: Iterable[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in parts)[:300]


def _message(fault: ValidationError) -> str:
    if fault.validator in _TELLING:
        return fault.message[:200]
    rule = msgspec.json.encode(fault.validator_value).decode()
    return f"breaks the schema's {fault.validator}: {rule if len(rule) <= 120 else rule[:119] + '…'}"
