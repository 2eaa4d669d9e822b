"""Bad input by the thousand: JSON that nearly fits a type, and texts that no parameter wants. All from one seed."""

import json
from random import Random
from typing import Any, Final

import msgspec

DEEP: Final = "[" * 200 + "]" * 200
TEXTS: Final = (
    "", " ", "x", "x" * 300, "\0", "a\r\nb: c", "..", "../../etc", "%", "%00", "%ff", "\u202e", "ü", "😀", "'\"", "|",
    "}{", "{p0}", "*", "**", "a..b", ".a", "a.", "a.**.b", "hub", "hub.x", "@", "@user.", "@user.%zz", "-1", "0",
    "1e999", "NaN", "9" * 40, "0x10", "null", "ep_", "ep_0", "evt_0", "0-0-0-0", "0-1-2-3_0-1-2-3", "f" * 16
    + "-0-0-0", "2026-13-45T99:99:99Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+23:59", "http://", "http://[", "https://u:p@h/",
    "https://h:99999/", "gopher://h/", "https://ex ample/", "`", "[?", "a.b.c[*].d || e", "eyJhbGciOiJub25lIn0.e30.",
    "a.b.c", "Bearer", "\t", "+", "1" * 5000,
)  # fmt: skip
NUMBERS: Final = (0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, 10**40, 1.5, -0.0, 1e308, 5e-324)


class Junk:
    """A source of bad input; the same seed gives the same."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def text(self) -> str:
        chance = self.random.random()
        if chance < 0.8:
            return self.random.choice(TEXTS)
        return "".join(
            chr(self.random.choice((self.random.randrange(128), self.random.randrange(0xD7FF)))) for _ in range(8)
        )

    def value(self, depth: int = 0) -> Any:
        """Any JSON value."""
        kind = self.random.randrange(6 if depth < 3 else 4)
        if kind == 0:
            return self.random.choice((None, True, False))
        if kind == 1:
            return self.random.choice(NUMBERS)
        if kind < 4:
            return self.text()
        if kind == 4:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return {self.text(): self.value(depth + 1) for _ in range(self.random.randrange(4))}

    def like(self, schema: dict[str, Any], parts: dict[str, Any], depth: int = 0) -> Any:
        """A value that a JSON Schema nearly describes."""
        if self.random.random() < 0.12 or depth > 6:
            return self.value()
        if "$ref" in schema:
            return self.like(parts[schema["$ref"].rpartition("/")[2]], parts, depth + 1)
        if branches := schema.get("anyOf"):
            return self.like(self.random.choice(branches), parts, depth + 1)
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return self._object(schema, parts, depth)
            case "array":
                return [self.like(schema.get("items") or {}, parts, depth + 1) for _ in range(self.random.randrange(3))]
            case "string":
                return self.random.choice((self.text(), "order.created", "orders.42", "https://example.com/hook"))
            case "integer" | "number":
                return self.random.choice((*NUMBERS, 5, 60))
            case "boolean":
                return self.random.random() < 0.5
            case _:
                return self.value()

    def _object(self, schema: dict[str, Any], parts: dict[str, Any], depth: int) -> Any:
        found: dict[str, Any] = {}
        for name, part in schema.get("properties", {}).items():
            if self.random.random() < (0.93 if name in schema.get("required", ()) else 0.35):
                found[name] = self.like(part, parts, depth + 1)
        if self.random.random() < 0.08:
            found[self.text()] = self.value()
        return found

    def body(self, shape: Any) -> bytes:
        """A request body that nearly is of a msgspec type: some fit, some don't, some aren't even JSON."""
        (schema,), parts = msgspec.json.schema_components([shape])
        raw = json.dumps(self.like(schema, parts)).encode()
        return self.damaged(raw) if self.random.random() < 0.2 else raw

    def damaged(self, raw: bytes) -> bytes:
        """The bytes, cut, flipped or added to."""
        at = self.random.randrange(len(raw) + 1)
        match self.random.randrange(7):
            case 0:
                return raw[:at]
            case 1:
                return raw[:at] + bytes([self.random.randrange(256)]) + raw[at + 1 :]
            case 2:
                return raw[:at] + b"\xff\xfe" + raw[at:]
            case 3:
                return b"\xef\xbb\xbf" + raw
            case 4:
                return raw + raw
            case 5:
                return DEEP.encode()
            case _:
                return b'{"a":"\\ud800","a":NaN}'
