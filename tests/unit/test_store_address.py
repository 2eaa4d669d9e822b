"""HUB_REDIS_URL is read as redis-py reads it, which isn't imported for that."""

import pytest
from redis.asyncio.connection import parse_url

from hub.store.address import resolver


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost", "redis://10.0.0.1:6380", "rediss://store.example:6380/3", "redis://[::1]:7000/15",
        "redis://:secret@localhost", "redis://user:se%40cr%3Aet@localhost:1/2", "redis://localhost/",
        "redis://user@localhost/0?db=4", "redis://localhost?username=a&password=b%2Fc&db=5", "unix:///run/store.sock",
        "unix:///run/with%20blank.sock?db=2&password=s", "unix://user:s@/run/store.sock",
    ],
)  # fmt: skip
async def test_a_url_is_read_as_the_library_reads_it(url: str) -> None:
    found = await resolver(url)()
    wanted: dict[str, object] = dict(parse_url(url))
    assert found.path == wanted.get("path")
    assert found.username == wanted.get("username")
    assert found.password == wanted.get("password")
    assert found.database == wanted.get("db", 0)
    assert found.tls == url.startswith("rediss")
    if found.path is None:
        assert (found.host, found.port) == (wanted["host"], wanted.get("port", 6379))
