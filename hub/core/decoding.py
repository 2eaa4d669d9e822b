"""What msgspec says of a document that it can't decode, as an error of ours that names the field."""

import re
from typing import Final

import msgspec

from hub.core.errors import Detail, Invalid, InvalidJson

_AT = re.compile(r" - at `(?:key` in `)?\$(?P<path>[^`]*)`\Z")
_NAMED = re.compile(r"fields? `(?P<name>.*)`", re.DOTALL)
_MAX_SHOWN: Final = 200


def from_msgspec(exc: msgspec.MsgspecError, root: str = "") -> Invalid:
    """Turn a decoding error into ours, naming the field (`root` stands for the whole document)."""
    if not isinstance(exc, msgspec.ValidationError):
        return InvalidJson(f"The body is not valid JSON: {exc}", (Detail(root or "body", str(exc)),))
    message, path = str(exc), ""
    if found := _AT.search(message):
        message, path = message[: found.start()], found["path"]
    if named := _NAMED.search(message):  # a missing or unknown field is named in the text, its parent in the path
        path = f"{path}.{_shown(named['name'])}"
    field = (root + path).lstrip(".") or "body"
    return Invalid.field(field, _shown(message))


def _shown(text: str) -> str:
    """A text that holds what the client sent, cut: an answer must not be as big as the request."""
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
