"""The hub's command, hurried up for tests: `python -m tests.support.brisk serve …`.

Heartbeats, and the end of who doesn't say who it is, are such that a test can wait for them; with TEST_WINDOW
processes remember only so many events, so that replays come from the store.
"""

import os

from hub.cli import main
from hub.live import tail
from hub.live.window import Window
from hub.web import session, sse, ws
from tests.support.hub import Hub, HubProcess

SECONDS = 0.6


class BriskHub(Hub):
    """Its web processes are hurried up."""

    def start_web(self, port: int) -> HubProcess:
        serve = ["tests.support.brisk", "serve", "--host", "127.0.0.1", "--port", str(port)]
        return HubProcess(serve, self.environment)


if __name__ == "__main__":
    for module in (sse, ws):
        module.HEARTBEAT = SECONDS  # pyright: ignore[reportConstantRedefinition, reportAttributeAccessIssue]
    session.AUTHENTICATE_WITHIN = 2.0  # pyright: ignore[reportConstantRedefinition, reportAttributeAccessIssue]
    if size := int(os.environ.get("TEST_WINDOW", "0")):
        tail.MAX_ENTRIES = size  # pyright: ignore[reportConstantRedefinition, reportAttributeAccessIssue]
        defaults = Window.__init__.__kwdefaults__
        assert defaults is not None
        defaults["max_entries"] = size
    main()
