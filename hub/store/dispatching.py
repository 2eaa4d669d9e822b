"""Who reads a log partition for dispatch, and how far the reading has come."""

from typing import Final

from hub.core import cursor as cursors
from hub.core.cursor import START, Position
from hub.store import keys
from hub.store.connect import Link
from hub.store.scripts import script
from hub.store.wire import Arg, Reply

LEASE_MS: Final = 5000
PAGE: Final = 200
BLOCK_MS: Final = 1000


class Dispatching:
    """One log partition's reader lease and dispatched position."""

    def __init__(self, link: Link, partition: int, token: str) -> None:
        self._link = link
        self.partition = partition
        self._token = token

    async def hold(self) -> bool:
        """Take or renew the lease; False while another has it."""
        return await self._lease(LEASE_MS)

    async def release(self) -> None:
        await self._lease(0)

    async def _lease(self, ms: int) -> bool:
        names = [keys.dispatch_lease(self.partition)]
        return bool(await self._link.run(script("lease"), names, [self._token, ms]))

    async def reached(self, epoch: int = 0, start: Position = START, end: Position = START) -> tuple[int, Position]:
        """The epoch and the dispatched position, after moving it to `end`.

        It doesn't move for a reader of another epoch, nor when the entry at `start`, where the reader went on from, was
        lost by the store; then the epoch is a new one.
        """
        names = [keys.log(self.partition), keys.meta(self.partition)]
        args: list[Arg] = [str(epoch), cursors.format_id(start), cursors.format_id(end)]
        reply = await self._link.run(script("dispatched"), names, args)
        return int(reply[0]), cursors.parse_id(reply[1])

    async def read(self, reader: Link, after: Position) -> list[Reply]:
        """Entries above a position as the store holds them; waits up to BLOCK_MS for one. `reader` only does this."""
        reply = await reader.call(
            "XREAD", "COUNT", PAGE, "BLOCK", BLOCK_MS, "STREAMS", keys.log(self.partition), cursors.format_id(after),
            timeout=BLOCK_MS / 1000 + 1.5,
        )  # fmt: skip
        return reply[0][1] if reply else []
