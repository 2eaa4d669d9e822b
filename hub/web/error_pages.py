"""`GET /docs/errors` and `GET /docs/errors/{code}`: what each error means and what to do, from the tree itself."""

import html
import re
from collections.abc import Iterator
from typing import Final

from starlette.responses import HTMLResponse

from hub.core.errors import HubError, NotFound
from hub.web.auth import OPEN
from hub.web.operation import Call, Operation

HTML: Final = "text/html"
POLICY: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "public, max-age=300",
}
"""Pages of the hub's own load nothing from elsewhere, and run no script that is written into them,
and their scripts can't parse a text as HTML (`require-trusted-types-for`)."""
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Hub</title><link rel="stylesheet" href="/docs/static/docs.css"></head>
<body><main><p><a href="/docs">Hub API</a> · <a href="/docs/errors">Errors</a></p><h1>{title}</h1>{content}</main></body></html>
"""  # noqa: E501 - it is a page


def all_errors(root: type[HubError] = HubError) -> Iterator[type[HubError]]:
    """The tree, the root first."""
    yield root
    for sub in root.__subclasses__():
        yield from all_errors(sub)


async def index(_call: Call[None]) -> HTMLResponse:
    """Every error, with what it means and what to do."""
    rows = "".join(
        f'<tr><td><a href="/docs/errors/{one.code}"><code>{one.code}</code></a></td><td>{one.status}</td>'
        f"<td>{_rich(one.title)}</td><td>{_rich(one.mend)}</td></tr>"
        for one in sorted(all_errors(), key=lambda one: (one.status, one.code))
    )
    head = "<tr><th>code</th><th>HTTP</th><th>what it means</th><th>what to do</th></tr>"
    return _page("Errors", f"<table>{head}{rows}</table>")


async def read(call: Call[None]) -> HTMLResponse:
    """One error, by its code."""
    code = call.path("code")
    for one in all_errors():
        if one.code == code:
            return _page(one.code, _about(one))
    raise NotFound(f"No error has the code {code[:40]!r}; /docs/errors lists them all")


def _about(error: type[HubError]) -> str:
    retry = (
        "Not before it is changed." if error.retry_after is None and error.status not in (408, 409, 500)
        else "Yes, with growing pauses, and not before <code>Retry-After</code> where that is sent."
    )  # fmt: skip
    facts = {
        "Means": _rich(error.title),
        "What to do": _rich(error.mend),
        "HTTP status": str(error.status),
        "Closes a WebSocket with": str(error.close_code),
        "Is it worth a retry?": retry,
    }
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts.items())
    return f"<p>{_rich(' '.join((error.__doc__ or '').split()))}</p><table>{rows}</table>"


def _rich(text: str) -> str:
    """Text with `code` in it, as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def _page(title: str, content: str) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=title, content=content), headers=POLICY)


operations = (
    Operation("GET", "/docs/errors", index, "List the errors", OPEN, media=HTML),
    Operation("GET", "/docs/errors/{code}", read, "Explain an error", OPEN, media=HTML, errors=(NotFound,)),
)
