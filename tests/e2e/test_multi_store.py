"""Stores as deployments have them: over TCP with a password, over TLS, demoted, and behind Sentinel.

`make test-redis` runs the store's tests on Debian's redis-server instead of the embedded valkey-server.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hub.core.errors import StoreUnavailable
from hub.store.connect import Link
from hub.store.log import Log
from tests.support.hub import Hub, free_port, publish
from tests.support.live import SseClient, WsClient
from tests.support.receiver import Receiver
from tests.support.store import SentinelProcess, StoreProcess
from tests.support.waiting import eventually

PASSWORD = "p@ss/word: 100%"


def on_tcp(*options: str, login: str = "", database: int = 0) -> StoreProcess:
    port = free_port()
    url = f"redis://{login}127.0.0.1:{port}/{database}"
    return StoreProcess("--port", str(port), "--bind", "127.0.0.1", *options, url=url)


def port_of(store: StoreProcess) -> int:
    return int(store.url.rpartition(":")[2].partition("/")[0])


async def taken(client: httpx.AsyncClient, data: Any, **fields: Any) -> dict[str, Any] | None:
    """Publish one event; its answer's data, or None while the store is away."""
    event = {"topic": "room.a", "type": "t", "data": data, **fields}
    response = await client.post("/v1/events", json=event)
    if response.status_code == 202:
        return response.json()["data"]
    assert (response.status_code, response.json()["error"]["code"]) == (503, "STORE_UNAVAILABLE")
    return None


async def core(hub: Hub) -> None:
    """Publish, follow live, lose the store, get it back, resume."""
    async with hub.client() as client, WsClient.open(hub) as ws, SseClient.open(hub, "topic=room.*") as sse:
        await ws.join("room.a")
        await sse.event()
        first = await publish(client, "room.a", 0)
        for n in range(1, 10):
            await publish(client, "room.a", n)
        hub.store.kill()
        assert await taken(client, "lost") is None
        hub.store.start()
        await eventually(lambda: taken(client, 10, id="ten"), "publishing works again")
        assert [message["event"]["data"] for message in await ws.events(11)] == list(range(11))
        assert [event["data"] for event in await sse.data(11)] == list(range(11))
        async with WsClient.open(hub) as late:
            assert (await late.join("room.a", after=first["cursor"]))["recovered"] is True
            assert [message["event"]["data"] for message in await late.events(10)] == list(range(1, 11))
            assert await late.quiet() == []
    await eventually(hub.is_ready, "the hub is ready again")


async def test_over_tcp_with_a_password_and_a_database_of_its_own() -> None:
    store = on_tcp("--requirepass", PASSWORD, login=f":{quote(PASSWORD, safe='')}@", database=1)
    with Hub(HUB_LOG_LEVEL="debug").on(store) as hub:
        await core(hub)
        with store.client() as client:
            assert client.dbsize() > 5
            assert client.info("keyspace").keys() == {"db1"}
        assert PASSWORD not in hub.webs[0].log
        assert quote(PASSWORD, safe="") not in hub.webs[0].log


async def test_a_wrong_password_is_said_and_not_shown() -> None:
    with on_tcp("--requirepass", PASSWORD, login=f":{quote(PASSWORD, safe='')}@") as store:
        link = Link(store.url.replace("word", "w0rd"))
        with pytest.raises(StoreUnavailable, match="WRONGPASS") as refused:
            await link.open(1)
        assert "w0rd" not in refused.value.message
        await link.close()


async def test_a_store_that_is_demoted_is_left_and_taken_again_when_it_is_promoted() -> None:
    with Hub() as hub, on_tcp() as other, hub.store.client() as store:
        async with hub.client() as client, WsClient.open(hub) as ws, SseClient.open(hub, "topic=room.a") as sse:
            await ws.join("room.a")
            await sse.event()
            await publish(client, "room.a", 1)
            other.kill()  # the demoted one finds no master to copy, and so keeps what it has
            store.replicaof("127.0.0.1", str(port_of(other)))
            assert await taken(client, "refused") is None
            assert await taken(client, "refused") is None
            assert (await client.get("/health/ready")).status_code == 503
            await eventually(lambda: fault(client, "slave, not the master"), "the role is said")
            store.replicaof("NO", "ONE")
            await eventually(lambda: taken(client, 2, id="two"), "publishing works again")
            assert [message["event"]["data"] for message in await ws.events(2)] == [1, 2]
            assert [event["data"] for event in await sse.data(2)] == [1, 2]
            await eventually(hub.is_ready, "the hub is ready again")


async def test_a_store_that_lost_its_last_writes_gives_a_gap_and_goes_on(tmp_path: Path) -> None:
    """As a failover to a replica that lagged behind."""
    saved = tmp_path / "saved"
    with Hub(workers=1) as hub:
        async with hub.client() as client, Receiver() as site:
            made = await client.post("/v1/endpoints", json={"url": site.url(), "topics": ["room.a"]})
            assert made.status_code == 201, made.text
            kept = [await publish(client, "room.a", n) for n in range(3)]
            await site.until(3)
            hub.store.kill()
            shutil.copytree(hub.store.folder / "appendonlydir", saved)
            hub.store.start()
            await eventually(hub.is_ready, "the hub is ready again")
            async with WsClient.open(hub) as ws, SseClient.open(hub, "topic=room.a") as sse:
                await ws.join("room.a")
                await sse.event()
                lost = [await publish(client, "room.a", f"lost {n}") for n in range(3)]
                assert len(await ws.events(3)) == len(await sse.data(3)) == 3
                await site.until(6)
                hub.store.kill()
                shutil.rmtree(hub.store.folder / "appendonlydir")
                shutil.copytree(saved, hub.store.folder / "appendonlydir")
                hub.store.start()
                gap = await ws.next("gap")
                assert gap["from"] == lost[-1]["cursor"]
                block = await sse.event()
                assert (block["event"], block["id"]) == ("hub.gap", gap["to"])
                new = await eventually(lambda: taken(client, "new"), "publishing works again")
                assert new is not None
                assert (await ws.next("event"))["event"]["id"] == new["id"]
                assert (await sse.data(1))[0]["id"] == new["id"]
                assert await ws.quiet() == []
            async with WsClient.open(hub) as late:
                for sent in (kept[0], lost[0]):  # the epoch is another one for all of them
                    assert (await late.join("room.a", after=sent["cursor"]))["recovered"] is False
                assert (await late.join("room.a", after=gap["to"]))["recovered"] is True
                assert (await late.next("event"))["event"]["id"] == new["id"]
            listed = (await client.get("/v1/events", params={"topic": "room.a"})).json()["data"]
            assert [event["id"] for event in listed] == [event["id"] for event in (*kept, new)]
            await eventually(lambda: any(one.event["data"] == "new" for one in site.got), "the endpoint gets it too")


async def fault(client: httpx.AsyncClient, text: str) -> bool:
    return text in (await client.get("/health/ready")).text


# -- fsync and a store that hangs --------------------------------------------------------------------------------------


async def test_every_route_answers_within_two_seconds_of_a_store_that_hangs() -> None:
    with Hub(web=1) as hub:
        async with hub.client() as client:
            sent = await publish(client, "room.a", 1)
            routes = [("GET", "/v1/events"), ("GET", "/v1/events?topic=room.a&order=desc"), ("POST", "/v1/events"),
                      ("GET", f"/v1/events/{sent['id']}"), ("GET", "/v1/keys"), ("POST", "/v1/keys"),
                      ("GET", "/v1/endpoints"), ("POST", "/v1/endpoints"), ("GET", "/v1/deliveries"),
                      ("DELETE", "/v1/keys/x"), ("GET", "/health/ready")]  # fmt: skip
            made = (await client.post("/v1/keys", json={"scopes": ["events:publish"]})).json()["data"]["key"]
            hub.store.hang()
            try:
                loop = asyncio.get_running_loop()
                took: dict[str, float] = {}

                async def ask(method: str, path: str, key: str | None = None) -> None:
                    began = loop.time()
                    body = {"GET": None, "DELETE": None}.get(method, BODIES.get(path))
                    headers = {} if key is None else {"authorization": f"Bearer {key}"}
                    response = await client.request(method, path, json=body, headers=headers)
                    assert response.status_code == 503, (method, path, response.text)
                    took[f"{method} {path} {key is None}"] = loop.time() - began

                for _ in range(2):  # on a connection that hangs, then on none
                    await asyncio.gather(
                        *(ask(method, path) for method, path in routes), ask("POST", "/v1/events", key=made)
                    )
                assert {what: round(seconds, 2) for what, seconds in took.items() if seconds > 2} == {}
            finally:
                hub.store.wake()


BODIES: dict[str, Any] = {
    "/v1/events": {"topic": "room.a", "type": "t", "data": 2},
    "/v1/keys": {"scopes": ["events:read"]},
    "/v1/endpoints": {"url": "http://127.0.0.1:9/"},
}


async def test_a_publish_that_timed_out_may_be_sent_again_and_is_appended_once() -> None:
    with Hub() as hub:
        async with hub.client() as client, WsClient.open(hub) as ws:
            await ws.join("room.a")
            key = {"idempotency-key": "order-1"}
            batch = [{"topic": "room.a", "type": "t", "data": n} for n in range(3)]
            hub.store.hang()
            try:
                response = await client.post("/v1/events", json=batch, headers=key)
                assert response.json()["error"]["code"] == "STORE_UNAVAILABLE"
            finally:
                hub.store.wake()  # it finds the append in its socket, and carries it out
            assert [message["event"]["data"] for message in await ws.events(3)] == [0, 1, 2]
            await eventually(hub.is_ready, "the hub is ready again")
            again = (await client.post("/v1/events", json=batch, headers=key)).json()["data"]
            assert [answer["duplicate"] for answer in again] == [True] * 3
            assert await ws.quiet() == []


async def test_fsync_holds_up_neither_readers_nor_other_publishers() -> None:
    store = StoreProcess("--appendfsync", "everysec")
    with store, store.client() as client:
        version = tuple(int(part) for part in str(client.info("server")["redis_version"]).split(".")[:2])
    hub = Hub(HUB_DURABILITY="fsync").on(StoreProcess("--appendfsync", "everysec"))
    if version < (7, 2):  # WAITAOF is newer: the start says so instead of failing every publish
        with pytest.raises(AssertionError, match="has ended"), hub:
            pass
        return
    with hub:
        async with hub.client() as publisher:
            answers = await asyncio.gather(*(taken(publisher, n) for n in range(60)))
            assert all(answers)
            assert len((await publisher.get("/v1/events?limit=500")).json()["data"]) == 60


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@contextlib.asynccontextmanager
async def tls_before(store: StoreProcess, certificate: tuple[Path, Path]) -> AsyncGenerator[str]:
    """A TLS front of a store, as hosted ones have; its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    tasks: set[asyncio.Task[Any]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(store.folder / "store.sock")
        for task in (asyncio.create_task(copy(reader, forth)), asyncio.create_task(copy(back, writer))):
            tasks.add(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_over_tls_the_certificate_is_checked(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with StoreProcess() as store:
        async with tls_before(store, certificate) as url:
            stranger = Link(url)
            with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                await stranger.open(1)
            await stranger.close()
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
            link = Link(url)
            await link.open(2)
            log = Log(link, partitions=1, retention=3600)
            assert (await log.observe(0))[0] > 0
            big = b"x" * 3_000_000
            await link.call("SET", "big", big)
            assert await link.call("GET", "big") == big
            await link.close()


# -- Sentinel ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def replicated() -> Iterator[tuple[StoreProcess, StoreProcess, list[SentinelProcess]]]:
    """A master, its replica and two Sentinels that watch them."""
    login = ("--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0")
    quoted = f":{quote(PASSWORD, safe='')}@"
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(on_tcp(*login, login=quoted))
        replica = stack.enter_context(on_tcp(*login, "--replicaof", "127.0.0.1", str(port_of(master)), login=quoted))
        sentinels = [
            stack.enter_context(SentinelProcess(free_port(), "shop", port_of(master), PASSWORD)) for _ in range(2)
        ]
        yield master, replica, sentinels


def role_of(store: StoreProcess) -> bytes | None:
    """Asked over a connection of its own, since a Sentinel ends those of a replica that it promotes."""
    with store.client() as client:
        try:
            return client.role()[0]
        except redis.ConnectionError:
            return None


async def test_sentinel_names_the_new_master_and_nothing_replicated_is_lost(
    replicated: tuple[StoreProcess, StoreProcess, list[SentinelProcess]],
) -> None:
    master, replica, sentinels = replicated
    with replica.client() as at_replica:
        await eventually(lambda: at_replica.info()["master_link_status"] == "up", "the replica follows")
    for sentinel in sentinels:
        await eventually(sentinel.is_watching, "the Sentinel knows the replica and the other Sentinel")
    nodes = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
    hub = Hub(HUB_DURABILITY="replicated", HUB_LOG_LEVEL="debug")
    hub.environment["HUB_REDIS_URL"] = f"redis+sentinel://:{quote(PASSWORD, safe='')}@{nodes}/shop"
    with hub:
        async with hub.client() as client, WsClient.open(hub) as ws, SseClient.open(hub, "topic=room.a") as sse:
            await ws.join("room.a")
            await sse.event()
            first = await publish(client, "room.a", 0)
            for n in range(1, 20):
                await publish(client, "room.a", n)
            assert [message["event"]["data"] for message in await ws.events(20)] == list(range(20))
            master.kill()
            await eventually(lambda: role_of(replica) == b"master", "the replica is promoted", 30)
            for sentinel in sentinels:
                await eventually(lambda s=sentinel: s.master_port() == port_of(replica), "the Sentinels agree")
            os.kill(sentinels[0].pid, signal.SIGSTOP)  # from now on the other one has to be asked
            assert await taken(client, "unconfirmed", id="twenty") is None  # it has no replica yet
            master.start()
            with replica.client() as at_replica, master.client() as at_old:
                at_old.replicaof("127.0.0.1", str(port_of(replica)))  # what the Sentinels do in a while
                await eventually(lambda: at_replica.info()["connected_slaves"] == 1, "the old master follows", 20)
            await eventually(lambda: taken(client, "confirmed", id="twenty"), "publishing works again", 20)
            assert (await ws.next("event"))["event"]["id"] == "twenty"
            assert await ws.quiet() == []
            assert [event["id"] for event in await sse.data(21)][-1] == "twenty"
            async with WsClient.open(hub) as late:
                assert (await late.join("room.a", after=first["cursor"]))["recovered"] is True
                assert [message["event"]["data"] for message in await late.events(19)] == list(range(1, 20))
                assert (await late.next("event"))["event"]["id"] == "twenty"
            hub.restart_web()  # one Sentinel hangs: the other is enough
            assert PASSWORD not in hub.webs[0].log
