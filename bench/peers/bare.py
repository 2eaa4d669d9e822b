"""The least that publishing over HTTP can be in Python: a Starlette route that does one XADD, and nothing else.

No credentials, no limits, no checks, no id, no deduplication. The commands of concurrent requests are written together,
over the hub's own thin client, since with a general one the route would be slower and the comparison kinder. A batch is
kept as one entry. Argument: the store's URL.
"""

import contextlib
import sys
from collections.abc import AsyncGenerator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.store.connect import Link


def create_app(url: str) -> Starlette:
    link = Link(url)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        await link.open()
        yield
        await link.close()

    async def publish(request: Request) -> Response:
        await link.call("XADD", "log", "*", "e", await request.body())
        return Response(b'{"success":true}', 202, media_type="application/json")

    return Starlette(routes=[Route("/v1/events", publish, methods=["POST"])], lifespan=lifespan)


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[1]), port=int(sys.argv[2]), loop="uvloop", http="httptools", log_config=None,
        access_log=False, timeout_keep_alive=30,
    )  # fmt: skip
