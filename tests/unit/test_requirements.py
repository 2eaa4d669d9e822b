"""What `hub check` and a start say of a store, from its INFO."""

import pytest

from hub.store.requirements import judge, name_and_version, parse_info

GOOD = {
    "redis_version": "7.0.15",
    "maxmemory": "1073741824",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "role": "master",
    "connected_slaves": "0",
}


def levels(durability: str = "store", appendfsync: str | None = "always", **info: str) -> list[str]:
    return [fault.level for fault in judge({**GOOD, **info}, appendfsync, durability)]


def test_a_fit_store_has_no_fault() -> None:
    assert levels() == []


def test_info_is_read_by_name_and_valkey_is_called_so() -> None:
    info = parse_info(b"# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n\r\n")
    assert info["redis_version"] == "7.2.4"
    assert name_and_version(info) == "Valkey 9.1.2"
    assert name_and_version({"redis_version": "7.0.15"}) == "Redis 7.0.15"


@pytest.mark.parametrize("version", ["6.2.14", "5.0", "", "unknown"])
def test_a_store_older_than_7_0_is_refused(version: str) -> None:
    assert levels(redis_version=version) == ["error"]


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.0.1", "10.0"])
def test_a_newer_store_is_taken(version: str) -> None:
    assert levels(redis_version=version) == []


def test_fsync_durability_needs_waitaof() -> None:
    assert levels("fsync", redis_version="7.0.15") == ["error"]
    assert levels("fsync", redis_version="7.2.4") == []
    assert levels("fsync", redis_version="7.2.4", aof_enabled="0") == ["error"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_a_store_that_may_evict_is_refused_even_without_a_limit(policy: str) -> None:
    assert levels(maxmemory_policy=policy) == ["error"]
    assert levels(maxmemory_policy=policy, maxmemory="0") == ["error"]


def test_no_memory_limit_is_a_warning() -> None:
    assert levels(maxmemory="0") == ["warning"]


def test_weak_persistence_is_a_warning_and_a_failed_write_an_error() -> None:
    assert levels(aof_enabled="0") == ["warning"]
    assert levels(appendfsync="everysec") == ["warning"]
    assert levels(appendfsync=None) == ["warning"]
    assert levels("fsync", appendfsync="everysec", redis_version="7.2.0") == []
    assert levels(aof_last_write_status="err") == ["error"]


def test_a_replica_and_a_missing_replica_are_errors() -> None:
    assert levels(role="slave") == ["error"]
    assert levels("replicated") == ["error"]
    assert levels("replicated", connected_slaves="1") == []
