"""What `hub check` finds out beside the store's own settings."""

import asyncio
import base64
import resource
import socket

import msgspec
import pytest

from hub.check import file_faults, port_faults, secret_faults
from hub.store.connect import Link
from tests.support.hub import Hub
from tests.support.webhooks import Ground


async def test_a_secret_key_that_opens_what_the_store_holds_is_fine(ground: Ground, link: Link) -> None:
    assert await secret_faults(link, ground.settings) == []  # there is nothing to open yet
    await ground.endpoint()
    assert await secret_faults(link, ground.settings) == []


async def test_another_secret_key_is_an_error_with_its_mend(ground: Ground, link: Link) -> None:
    await ground.endpoint()
    other = msgspec.structs.replace(ground.settings, secret_key=b"x" * 32)
    (fault,) = await secret_faults(link, other)
    assert fault.level == "error"
    assert "HUB_SECRET_KEY" in fault.mend
    assert base64.b64encode(b"x" * 32).decode() not in fault.what + fault.mend


@pytest.mark.parametrize(("limit", "faults"), [(1024, 1), (16, 1), (65536, 0), (resource.RLIM_INFINITY, 0)])
def test_few_open_files_are_a_warning(limit: int, faults: int) -> None:
    found = file_faults(limit)
    assert len(found) == faults
    assert all(fault.level == "warning" and "ulimit -Hn" in fault.mend for fault in found)


async def test_a_port_that_is_free_is_fine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert await port_faults("127.0.0.1", port) == []
    socket.create_server(("127.0.0.1", port)).close()  # nothing was left listening there


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"])
async def test_a_port_that_something_else_holds_is_an_error_with_its_mend(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        (fault,) = await port_faults("127.0.0.1", port)
    assert (fault.level, fault.what) == ("error", f"Port {port} on 127.0.0.1 can't be used: Address already in use")
    assert fault.mend == "Stop what listens there, or choose another --port or --host"


async def test_a_port_where_a_hub_answers_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    with Hub() as running:
        assert await port_faults("127.0.0.1", running.ports[0]) == []
        assert capsys.readouterr().out == f"port: a hub answers at {running.url()}\n"


async def test_a_host_that_is_not_this_machines_is_an_error() -> None:
    (fault,) = await port_faults("192.0.2.1", 0)
    assert fault.level == "error"
    assert "192.0.2.1" in fault.what
    assert "--host" in fault.mend
