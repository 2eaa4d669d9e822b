"""`hub reseal` while the hub serves, and a process that has the new key alone after it."""

import base64
import subprocess
import sys

from tests.support.hub import Hub, free_port

ENDPOINT = {"url": "http://127.0.0.1:9/"}
NEW = base64.b64encode(b"n" * 32).decode()


def resealed(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hub", "reseal"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


async def test_the_secret_key_is_changed_without_losing_a_secret() -> None:
    with Hub() as hub:
        async with hub.client() as client:
            made = (await client.post("/v1/endpoints", json=ENDPOINT)).json()["data"]
            old = hub.environment["HUB_SECRET_KEY"]
            hub.environment["HUB_SECRET_KEY"] = NEW
            refused = resealed(hub.environment)
            assert refused.returncode == 1
            assert "HUB_SECRET_KEY is not the key" in refused.stderr
            done = resealed({**hub.environment, "HUB_SECRET_KEY_PREVIOUS": old})
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("1 of 2 endpoints and apps")
            assert old not in done.stdout + refused.stderr
        hub.ports.append(free_port())
        hub.webs.append(hub.start_web(hub.ports[1]))
        hub.until_ready(1)
        async with hub.client(1) as client:
            shown = await client.get(f"/v1/endpoints/{made['id']}/secret")
            assert shown.status_code == 200
            assert shown.json()["data"]["secret"] == made["secret"]


def test_without_its_settings_it_is_a_wrong_use() -> None:
    wrong = resealed({})
    assert wrong.returncode == 2
    assert "HUB_REDIS_URL and HUB_SECRET_KEY must be set" in wrong.stderr
