"""The plain loop that the hub's workers are measured against: it signs and sends with aiohttp, and nothing else.

    python -m bench.webhook_loop --port N --endpoints N [--in-flight 100] [--bytes 500]

No queue, no retries, no record, no log line, no look at what was answered but its status. It runs until it is stopped.
"""

import argparse
import asyncio
import itertools
import time
from collections.abc import Iterator

import aiohttp
import uvloop

from bench.webhook_site import host_of, payload
from hub.core.signing import key_of, new_secret, sign


async def main() -> None:
    parser = argparse.ArgumentParser(description="Signs and sends webhooks with aiohttp.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--endpoints", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--bytes", type=int, default=500)
    given = parser.parse_args()
    urls = [f"http://{host_of(n)}:{given.port}/{n}" for n in range(given.endpoints)]
    numbers = itertools.count()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(_send(session, urls, numbers, given.bytes) for _ in range(given.in_flight)))


async def _send(session: aiohttp.ClientSession, urls: list[str], numbers: Iterator[int], size: int) -> None:
    key = key_of(new_secret())
    for n in numbers:
        body = payload(n, size, time.monotonic_ns())
        now = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": f"evt_{n}",
            "webhook-timestamp": str(now),
            "webhook-signature": sign([key], f"evt_{n}", now, body),
        }
        async with session.post(urls[n % len(urls)], data=body, headers=headers) as response:
            await response.read()
            if response.status != 200:
                raise SystemExit(f"answered {response.status}")


if __name__ == "__main__":
    uvloop.run(main())
