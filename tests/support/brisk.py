"""The hub's command with a heartbeat that a test can wait for: `python -m tests.support.brisk serve …`."""

from hub.cli import main
from hub.web import sse

SECONDS = 0.6

if __name__ == "__main__":
    sse.HEARTBEAT = SECONDS  # pyright: ignore[reportConstantRedefinition, reportAttributeAccessIssue]
    main()
