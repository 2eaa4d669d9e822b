"""A receiver in Node verifies what the hub sends, by `standardwebhooks` from npm and by itself (make test-clients)."""

import asyncio
import json
import os
from typing import Any

import httpx
import pytest

from hub.core.signing import new_secret, shown
from tests.clients.test_node import FOLDER, NODE
from tests.support.hub import Hub, publish

pytestmark = pytest.mark.foreign


async def test_a_receiver_in_node_verifies_both_signatures_of_a_rotation(
    hub: Hub, client: httpx.AsyncClient, topic: str
) -> None:
    assert (FOLDER / "node_modules").is_dir(), "the packages are not installed; run: make test-clients"
    secret, pair = new_secret(), new_secret("v1a")
    process = await asyncio.create_subprocess_exec(
        NODE, FOLDER / "programs" / "webhook.mjs", env={**os.environ, "SECRET": secret, "PUBLIC": shown(pair)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    async def said() -> dict[str, Any]:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            return json.loads(await process.stdout.readline())

    try:
        url = f"http://127.0.0.1:{(await said())['port']}/"
        made = await client.post("/v1/endpoints", json={"url": url, "topics": [topic], "secret": secret})
        path = f"/v1/endpoints/{made.json()['data']['id']}"
        await publish(client, topic, {"größe": 1})
        got = await said()
        assert (got["event"]["data"], got["v1"], got["v1a"]) == ({"größe": 1}, [True, False], [False, False])
        rotated = await client.post(f"{path}/secret/rotate", json={"signature": "v1a", "secret": pair})
        assert rotated.json()["data"]["secret"] == shown(pair)
        await publish(client, topic, 2)
        got = await said()
        assert (got["event"]["data"], got["v1"], got["v1a"]) == (2, [True, False], [True, False])
        await client.delete(path)
    finally:
        process.stdin.close()
        async with asyncio.timeout(10):
            await process.wait()
