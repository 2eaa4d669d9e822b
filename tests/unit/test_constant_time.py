"""What may be guessed at is compared in constant time: nowhere by an operator that ends at the first difference."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SECRET: Final = ("credential", "digest", "mac", "nonce", "password", "refresh", "secret", "signature")
ABOUT: Final = {"kind_of(secret) != signature", "signature == 'v1'"}
"""Which kind a signature is, which is no secret."""


def name(node: ast.expr) -> str:
    """What an operand is called at last."""
    match node:
        case ast.Attribute(attr=found) | ast.Name(id=found) | ast.Subscript(slice=ast.Constant(value=str(found))):
            return found.lower()
        case ast.Call(func=called):
            return name(called)
        case _:
            return ""


def compared(source: str) -> Iterator[str]:
    """Comparisons by ==, != or `in` of something that has a secret's name."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        operands = [name(one) for one in (node.left, *node.comparators)]
        if any(isinstance(how, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for how in node.ops) and any(
            word in operand for operand in operands for word in SECRET
        ):
            yield ast.unparse(node)


def test_no_secret_is_compared_by_an_operator() -> None:
    files = [file for folder in ("hub", "workers") for file in (ROOT / folder).rglob("*.py")]
    found = {text for file in files for text in compared(file.read_text())}
    assert found == ABOUT


def test_the_look_for_operators_finds_them() -> None:
    for text in ("digest(text) == known", "one.secret != two", "raw['nonce'] in known", "a == request.signature"):
        assert list(compared(text)) == [text]
    assert not list(compared("hmac.compare_digest(digest(text), known)"))
