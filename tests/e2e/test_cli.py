"""The client commands and `hub check`, against a real `hub dev`."""

import asyncio
import json
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.support.hub import free_port
from tests.support.processes import Running, call_hub, hub_command, run_hub
from tests.support.receiver import Receiver, answer
from tests.support.store import StoreProcess
from tests.support.waiting import eventually, until
from tests.unit.test_jose import pem


class Dev:
    """A `hub dev` and the folder that it was started in."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running = running
        self.folder = folder
        self.url: str
        self.key: str
        self.url, self.key = json.loads((folder / ".hub" / "running.json").read_text()).values()

    def hub(self, *arguments: str, code: int = 0) -> str:
        """Run a command in the folder; what it printed."""
        ended, out, err = call_hub(*arguments, folder=self.folder)
        assert ended == code, out + err
        return out if code == 0 else err

    def tail(self, *arguments: str) -> Running:
        """A `hub tail` that is connected."""
        running = Running(hub_command("tail", *arguments), folder=self.folder)
        until(lambda: "connected" in running.err or running.process.poll() is not None, "tail is connected")
        return running


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("dev")
    with Running(hub_command("dev", "--port", "0", "--workers", "0"), folder=folder) as running:
        running.until_printed("Hub is at")
        yield Dev(running, folder)


def events(tail: Running, count: int) -> list[dict[str, Any]]:
    """What a tail has printed, once there are so many lines."""
    until(lambda: tail.out.count("\n") >= count, f"{count} lines are printed")
    return [json.loads(line) for line in tail.out.split("\n")[:-1]]


# -- publish -----------------------------------------------------------------------------------------------------------


def test_publish_takes_the_running_dev_of_the_folder_and_prints_id_and_cursor(dev: Dev) -> None:
    done = run_hub("publish", "cli.a", "test.event", '{"n": 1}', folder=dev.folder)
    assert done.returncode == 0, done.stderr
    event_id, cursor = done.stdout.split()
    assert event_id.startswith("evt_")
    assert cursor.count("-") == 3


def test_publish_reads_standard_input_and_files_byte_for_byte(dev: Dev) -> None:
    (dev.folder / "data.json").write_text('{"n":  1.10, "text": "a\u2028b"}')
    first = dev.hub("publish", "cli.b", "test.event", "@data.json").split()[1]
    run_hub("publish", "cli.b", "test.event", "-", folder=dev.folder, stdin='"from stdin"')
    dev.hub("publish", "cli.b", "test.event")
    with dev.tail("--topic", "cli.b", "--after", before(first)) as tail:
        lines = events(tail, 3)
        assert [line["event"]["data"] for line in lines] == [{"n": 1.1, "text": "a\u2028b"}, "from stdin", None]
        assert '{"n":  1.10, "text": "a\u2028b"}' in tail.out  # not one byte of it is another


def before(cursor: str) -> str:
    """The cursor of the place right before an event, on a hub with one partition."""
    partition, epoch, ms, seq = (int(part, 16) for part in cursor.split("-"))
    return f"{partition:x}-{epoch:x}-{ms:x}-{seq - 1:x}" if seq else f"{partition:x}-{epoch:x}-{ms - 1:x}-ffff"


def test_url_and_key_come_from_options_or_the_environment(dev: Dev, tmp_path: Path) -> None:
    for options, environ in (
        (["--url", dev.url + "/", "--key", dev.key], {}),
        ([], {"HUB_URL": dev.url, "HUB_KEY": dev.key}),
    ):
        code, out, err = call_hub("publish", "cli.c", "test.event", "1", *options, folder=tmp_path, environ=environ)
        assert code == 0, err
        assert out.startswith("evt_")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["publish", "cli.d", "test.event", "{not json"], 2, "DATA is not JSON"),
        (["publish", "cli.d", "test.event", "@missing.json"], 2, "missing.json can't be read: No such file"),
        (["publish", "cli.d"], 2, "Missing argument"),
        (["publish", "cli..d", "test.event", "1"], 1, "(VALIDATION_FAILED, HTTP 400)"),
        (["publish", "cli.d", "test.event", "1", "--url", "ftp://x"], 2, "--url (HUB_URL) is 'ftp://x'; allowed:"),
        (["publish", "cli.d", "test.event", "1", "--key", "wrong"], 1, "(UNAUTHENTICATED, HTTP 401)"),
        (["publish", "cli.d", "test.event", "1", "--url", "http://127.0.0.1:1", "--key", "k"], 1, "can't be reached"),
        (["tail", "--key", "wrong"], 1, "(UNAUTHENTICATED, HTTP 401)"),
        (["tail", "--after", "nonsense"], 1, "(INVALID_CURSOR, HTTP 400)"),
        (["listen", "--forward-to", "nowhere"], 2, "--forward-to is 'nowhere'"),
        (["listen", "--forward-to", "http://127.0.0.1:1/", "--secret", "x"], 2, "--secret:"),
        (["tail", "--url", "http://127.0.0.1:1", "--key", "k"], 1, "can't be reached"),
        (["no-such-command"], 2, "No such command"),
        (["serve", "--port", "high"], 2, "a valid integer"),
    ],
)
def test_what_is_wrong_is_said_and_the_exit_code_tells_usage_from_failure(
    dev: Dev, arguments: list[str], code: int, said: str
) -> None:
    assert said in dev.hub(*arguments, code=code)


def test_without_a_key_the_command_says_where_one_may_come_from(tmp_path: Path) -> None:
    code, _, err = call_hub("publish", "cli.e", "test.event", "1", folder=tmp_path)
    assert code == 2
    assert "No API key: give --key or HUB_KEY" in err


# -- tail --------------------------------------------------------------------------------------------------------------


def test_tail_prints_one_line_per_event_that_its_filters_want(dev: Dev) -> None:
    with dev.tail("--topic", "cli.f.*", "--type", "order.*") as tail:
        for topic, type in (("cli.f.a", "order.made"), ("cli.f.a", "other.made"), ("cli.g", "order.made")):
            dev.hub("publish", topic, type, "1")
        event_id, cursor = dev.hub("publish", "cli.f.b", "order.paid", "2").split()
        made, paid = events(tail, 2)
        assert made["event"]["type"] == "order.made"
        assert paid["cursor"] == cursor
        assert paid["event"]["id"] == event_id
        assert tail.stop(signal.SIGINT) == 0


def test_tail_goes_on_after_the_web_process_died_without_losing_or_repeating_an_event(dev: Dev) -> None:
    with dev.tail("--topic", "cli.h") as tail:
        dev.hub("publish", "cli.h", "test.event", "1")
        events(tail, 1)
        os.kill(dev.running.pid_of("web-1"), signal.SIGKILL)
        dev.hub("publish", "cli.h", "test.event", "2")  # it waits for the next web process
        until(lambda: tail.err.count("connected") >= 2, "tail is connected again")
        dev.hub("publish", "cli.h", "test.event", "3")
        assert [line["event"]["data"] for line in events(tail, 3)] == [1, 2, 3]
        assert tail.stop() == -signal.SIGTERM


def test_tail_ends_quietly_when_nobody_reads_it_any_more(dev: Dev) -> None:
    _, cursor = dev.hub("publish", "cli.i", "test.event", "1").split()
    dev.hub("publish", "cli.i", "test.event", "2")
    script = f"{shlex.join(hub_command('tail', '--topic', 'cli.i', '--after', before(cursor)))} | head -n 1"
    with Running(["sh", "-c", script], folder=dev.folder) as piped:
        assert [line["event"]["data"] for line in events(piped, 1)] == [1]
        until(lambda: piped.process.poll() is not None or publish_again(dev), "the pipe has ended")
        assert "Traceback" not in piped.err


def publish_again(dev: Dev) -> bool:
    dev.hub("publish", "cli.i", "test.event", "3")
    return False


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_key_is_made_listed_used_and_revoked(dev: Dev) -> None:
    key = dev.hub("keys", "create", "for a test", "--scope", "events:publish").strip()
    dev.hub("publish", "cli.j", "test.event", "1", "--key", key)
    assert "FORBIDDEN" in dev.hub("keys", "list", "--key", key, code=1)
    records = [json.loads(line) for line in dev.hub("keys", "list").splitlines()]
    (record,) = [record for record in records if record["name"] == "for a test"]
    assert record["scopes"] == ["events:publish"]
    dev.hub("keys", "revoke", record["id"])
    assert "UNAUTHENTICATED" in dev.hub("publish", "cli.j", "test.event", "1", "--key", key, code=1)


def test_a_key_may_have_a_role_an_end_and_another_app(dev: Dev) -> None:
    dev.hub("keys", "create", "short", "--role", "subscriber", "--ttl", "600", "--app", "cli-tenant")
    (record,) = [json.loads(line) for line in dev.hub("keys", "list", "--app", "cli-tenant").splitlines()]
    assert (record["role"], record["app"]) == ("subscriber", "cli-tenant")
    assert record["expires_at"] is not None
    assert "VALIDATION_FAILED" in dev.hub("keys", "create", "none", code=1)


# -- apps and tokens ---------------------------------------------------------------------------------------------------


def test_an_app_is_made_with_an_admin_key_disabled_and_deleted(dev: Dev) -> None:
    key = dev.hub("apps", "create", "cli-app", "--name", "A tenant").strip()
    (own,) = [json.loads(line) for line in dev.hub("apps", "list", "--key", key).splitlines()]
    assert (own["id"], own["name"]) == ("cli-app", "A tenant")
    signing, secret = dev.hub("apps", "signing-keys", "create", "cli-app", "--key", key).split()
    assert len(secret) > 32
    token = dev.hub("tokens", "create", "ann", "--subscribe", "cli.**", "--key", key).strip()
    assert dev.hub("tokens", "revoke", "--token", token, "--key", key) == ""
    listed = dev.hub("apps", "signing-keys", "list", "cli-app")
    assert json.loads(listed)["id"] == signing
    dev.hub("apps", "signing-keys", "delete", "cli-app", signing)
    assert "(CONFLICT, HTTP 409)" in dev.hub("tokens", "create", "ann", "--key", key, code=1)
    dev.hub("apps", "disable", "cli-app")
    assert "(FORBIDDEN, HTTP 403)" in dev.hub("keys", "list", "--key", key, code=1)
    dev.hub("apps", "enable", "cli-app")
    dev.hub("keys", "list", "--key", key)
    assert "say --yes" in dev.hub("apps", "delete", "cli-app", code=2)
    dev.hub("apps", "delete", "cli-app", "--yes")
    assert "(UNAUTHENTICATED, HTTP 401)" in dev.hub("keys", "list", "--key", key, code=1)


def test_a_public_key_is_given_as_a_file(dev: Dev) -> None:
    (dev.folder / "key.pem").write_text(pem("ES256"))
    assert dev.hub("apps", "signing-keys", "create", "default", "--public-key", "key.pem").startswith("sig_")
    assert "missing.pem can't be read" in dev.hub(
        "apps", "signing-keys", "create", "default", "--public-key", "missing.pem", code=2
    )


# -- endpoints, deliveries ---------------------------------------------------------------------------------------------


def test_endpoints_are_made_listed_and_deleted(dev: Dev) -> None:
    endpoint_id, secret = dev.hub("endpoints", "create", "http://127.0.0.1:9/hook", "--type", "order.*").split()
    assert secret.startswith("whsec_")
    (listed,) = [json.loads(line) for line in dev.hub("endpoints", "list").splitlines()]
    assert (listed["id"], listed["types"]) == (endpoint_id, ["order.*"])
    assert dev.hub("deliveries", "list", "--endpoint", endpoint_id) == ""
    assert "NOT_FOUND" in dev.hub("deliveries", "retry", "dlv_none", code=1)
    dev.hub("endpoints", "delete", endpoint_id)
    assert dev.hub("endpoints", "list") == ""


def test_an_endpoint_is_shown_paused_tested_and_replayed(dev: Dev) -> None:
    endpoint_id, _ = dev.hub("endpoints", "create", "http://127.0.0.1:9/hook").split()
    dev.hub("endpoints", "disable", endpoint_id)
    assert json.loads(dev.hub("endpoints", "show", endpoint_id))["disabled_reason"] == "manual"
    dev.hub("endpoints", "enable", endpoint_id)
    sent = dev.hub("endpoints", "test", endpoint_id, "--type", "order.paid").strip()
    shown = json.loads(dev.hub("deliveries", "show", sent))
    assert (shown["event"]["type"], shown["origin"], shown["attempts"]) == ("order.paid", "test", [])
    assert json.loads(dev.hub("endpoints", "stats", endpoint_id))["backlog"]["total"] == 1
    dev.hub("deliveries", "cancel", sent)
    begun = [
        dev.hub("endpoints", kind, endpoint_id, "--since", "2026-01-01T00:00:00Z").strip()
        for kind in ("recover", "replay")
    ]
    listed = [json.loads(line) for line in dev.hub("endpoints", "jobs", endpoint_id).splitlines()]
    assert [one["id"] for one in listed] == begun[::-1]
    dev.hub("jobs", "cancel", begun[0])
    assert json.loads(dev.hub("jobs", "show", begun[0]))["status"] == "cancelled"
    dev.hub("endpoints", "delete", endpoint_id)


def test_event_types_are_written_listed_shown_and_deleted(dev: Dev, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "required": ["total"]}')
    put = ("event-types", "put", "cli.made", "--description", "made", "--schema", f"@{schema}", "--example")
    dev.hub(*put, '{"total": 7}')
    (listed,) = [json.loads(line) for line in dev.hub("event-types", "list").splitlines()]
    assert (listed["type"], listed["description"]) == ("cli.made", "made")
    shown = json.loads(dev.hub("event-types", "show", "cli.made"))
    assert (shown["schema"]["required"], shown["example"]) == (["total"], {"total": 7})
    assert "VALIDATION_FAILED" in dev.hub("publish", "cli.1", "cli.made", "{}", code=1)
    assert "--example is not JSON" in dev.hub(*put, "{", code=2)
    dev.hub("event-types", "delete", "cli.made")
    assert dev.hub("event-types", "list") == ""
    assert "NOT_FOUND" in dev.hub("event-types", "show", "cli.made", code=1)


# -- listen ------------------------------------------------------------------------------------------------------------


async def test_listen_sends_live_events_to_a_url_signed_as_webhooks_also_when_it_comes_up_later(dev: Dev) -> None:
    port = free_port()
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    options = ("--forward-to", f"http://127.0.0.1:{port}/hook", "--type", "order.*", "--secret", secret)
    with Running(hub_command("listen", *options), folder=dev.folder) as listening:
        await eventually(lambda: "connected" in listening.err, "listen is connected")
        assert secret in listening.err
        first, _ = (await asyncio.to_thread(dev.hub, "publish", "cli.k", "order.made", '{"n":  1}')).split()
        async with Receiver(port=port) as receiver:
            receiver.answers["/hook"] = [answer(500)]
            await asyncio.to_thread(dev.hub, "publish", "cli.k", "cart.filled", "2")
            second, _ = (await asyncio.to_thread(dev.hub, "publish", "cli.k", "order.paid", "3")).split()
            got = await receiver.until(2)
            assert [one.headers["webhook-id"] for one in got] == [first, second]
            assert b'{"n":  1}' in got[0].body
            for one in got:
                assert Webhook(secret).verify(one.body, one.headers) == one.event
            await eventually(lambda: listening.out.count("\n") == 2, "each is told of")
            told = [line.split()[:3] for line in listening.out.splitlines()]
            assert told == [["order.made", first, "500"], ["order.paid", second, "200"]]
        assert await asyncio.to_thread(listening.stop, signal.SIGINT) == 0


# -- check -------------------------------------------------------------------------------------------------------------


def check(folder: Path, **environ: str) -> tuple[int, str]:
    code, out, err = call_hub("check", "--port", "0", folder=folder, environ=environ)
    assert not err
    return code, out


def test_check_finds_a_running_dev_in_order_and_shows_no_secret(dev: Dev) -> None:
    code, said = check(dev.folder, HUB_BOOTSTRAP_KEY="very-secret-indeed", HUB_RETENTION="3600")
    assert code == 0, said
    assert "store: Valkey" in said
    assert "error" not in said
    assert "warning" not in said
    assert "very-secret-indeed" not in said
    settings = dict(line.split(maxsplit=1) for line in said.splitlines() if line.startswith("HUB_"))
    assert settings["HUB_BOOTSTRAP_KEY"] == "set"
    assert settings["HUB_SECRET_KEY"] == "not set"
    assert settings["HUB_RETENTION"] == "3600"
    assert settings["HUB_PARTITIONS"] == "1 (default)"
    assert "live events are written by: " in said
    _, said = check(dev.folder, HUB_IO_URING="off")
    assert "live events are written by: send\n" in said


def test_check_names_every_wrong_setting_and_every_unknown_one(tmp_path: Path) -> None:
    code, said = check(tmp_path, HUB_PARTITIONS="many", HUB_LOG_LEVEL="loud", HUB_RETENTON="60")
    assert code == 1
    assert "error: HUB_PARTITIONS is 'many'." in said
    assert "error: HUB_LOG_LEVEL is 'loud'." in said
    assert "warning: HUB_RETENTON is not a variable of the hub." in said


def test_check_says_what_a_store_lacks_and_the_mend(tmp_path: Path) -> None:
    with StoreProcess() as store, store.client() as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        redis.config_set("appendfsync", "everysec")
        redis.hset("hub:{cfg}:layout", mapping={"partitions": 4})
        code, said = check(tmp_path, HUB_REDIS_URL=store.url)
    assert code == 1
    assert "error: The store's maxmemory-policy is allkeys-lru" in said
    assert "mend: CONFIG SET maxmemory-policy noeviction" in said
    assert "warning: The store's appendfsync is everysec" in said
    assert "error: HUB_PARTITIONS is 1, but this store was laid out with 4." in said


def test_check_says_why_a_store_can_not_be_reached_without_its_password(tmp_path: Path) -> None:
    code, said = check(tmp_path, HUB_REDIS_URL="redis://user:pa55word@127.0.0.1:1/0")
    assert code == 1
    assert "error: The store at redis://***@127.0.0.1:1/0 can't be used:" in said
    assert "pa55word" not in said


def test_check_warns_of_a_production_without_its_secret_key(tmp_path: Path) -> None:
    with StoreProcess() as store:
        code, said = check(tmp_path, HUB_REDIS_URL=store.url)
    assert code == 0
    assert "warning: HUB_SECRET_KEY is not set: hub serve and hub worker don't start without it." in said


def test_check_warns_of_a_data_folder_that_others_can_read(tmp_path: Path) -> None:
    (tmp_path / ".hub").mkdir(mode=0o755)
    code, said = check(tmp_path)
    assert code == 0
    assert "warning: Other users can reach .hub." in said
    assert "mend: chmod go-rwx .hub." in said
