"""How data goes out: the envelope, chosen fields, its ETag, and compression."""

import asyncio
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from hub.core.errors import Invalid
from hub.web.accept import JSON, takes_gzip
from hub.web.http import encode, envelope

Tree: TypeAlias = dict[str, "Tree"]
"""The fields to keep; an empty one keeps all that is below."""

MAX_FIELDS: Final = 50
_MAX_DEPTH: Final = 10
LEAST: Final = 1024
"""Bytes from which compression pays."""
_ASIDE: Final = 64 * 1024
"""Bytes from which it is done in another thread: it takes 10 ms for each megabyte or so."""
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def represent(request: Request, data: Any, pagination: Mapping[str, Any] | None, fields: Tree | None) -> Response:
    """A read's answer: 200, or 304 for a client that has this state already (RFC 9110, section 13.1.2).

    The ETag stands for `data` and `pagination`; `meta` differs in each answer.
    """
    body = encode(data)
    if fields is not None:
        body = pick(body, fields)
    paging = None if pagination is None else encode(pagination)
    tag = etag(body, paging or b"")
    headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "accept, accept-encoding"}
    if matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(envelope(request, body, paging), 200, headers, JSON)


def etag(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        digest.update(part)
    return f'"{digest.hexdigest()}"'


def matches(header: str | None, tag: str) -> bool:
    """Whether an `If-Match` or `If-None-Match` names this ETag, or any by `*`."""
    if header is None:
        return False
    named = [name.strip().removeprefix("W/") for name in header.split(",")]
    return "*" in named or tag in named


def parse_fields(text: str, name: str) -> Tree:
    """`id,data.amount` as a tree. Raises Invalid."""
    paths = [path.strip() for path in text.split(",")]
    if len(paths) > MAX_FIELDS:
        raise Invalid.field(name, f"names {len(paths)} fields; allowed are {MAX_FIELDS}")
    root: Tree = {}
    for path in paths:
        steps = path.split(".")
        if not all(steps) or len(steps) > _MAX_DEPTH:
            raise Invalid.field(name, f"{path[:40]!r} is not a field; send names such as id,data.amount")
        node = root
        for step in steps[:-1]:
            node = node.setdefault(step, {})
        node[steps[-1]] = {}
    return root


def pick(body: bytes, fields: Tree) -> bytes:
    """Keep these fields of an object, or of each in an array. What is kept stays as it is, byte by byte."""
    start = body.lstrip()[:1]
    if start == b"[":
        return encode([msgspec.Raw(pick(bytes(item), fields)) for item in _array(body)])
    if start != b"{":
        return body
    kept = {name: raw for name, raw in _object(body).items() if name in fields}
    return encode({name: msgspec.Raw(pick(bytes(raw), fields[name])) if fields[name] else raw
                   for name, raw in kept.items()})  # fmt: skip


def is_long(response: Response) -> bool:
    """Whether compressing may pay: the answer is whole, not a stream, and long enough."""
    return len(getattr(response, "body", b"")) >= LEAST


async def compress(request: Request, response: Response) -> None:
    """Compress a long answer by gzip where the client takes it."""
    body = bytes(response.body)
    if "content-encoding" in response.headers or not takes_gzip(request.headers.get("accept-encoding", "")):
        return
    response.body = _gzip(body) if len(body) < _ASIDE else await asyncio.to_thread(_gzip, body)
    response.headers["content-length"] = str(len(response.body))
    response.headers["content-encoding"] = "gzip"
    response.headers.setdefault("vary", "accept-encoding")


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(5, wbits=31)  # 31: with the head and the end of gzip (RFC 1952)
    return packer.compress(body) + packer.flush()
