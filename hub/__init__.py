"""Hub: one durable log of events, delivered live over WebSocket and SSE and as signed webhooks."""

from typing import Final

VERSION: Final = "0.1.0"
