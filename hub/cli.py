"""The `hub` command. Exit codes: 0 ok, 1 failed, 2 usage or a wrong setting."""

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from hub import client, credentials, dev, listening, processes, settings, telemetry
from hub.event_types import event_types
from hub.group import Group
from hub.listening import StartError
from hub.options import Key, Url
from hub.tail import Feed

app = typer.Typer(
    help="A real-time event and webhook hub: publish once, deliver over WebSocket, SSE and signed webhooks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
endpoints = typer.Typer(help="Webhook endpoints: make, show, pause, test, recover, replay.", no_args_is_help=True)
deliveries = typer.Typer(help="Webhook deliveries: list, show, retry, cancel.", no_args_is_help=True)
app.add_typer(credentials.keys, name="keys")
app.add_typer(credentials.tokens, name="tokens")
app.add_typer(credentials.apps, name="apps")
app.add_typer(endpoints, name="endpoints")
app.add_typer(event_types, name="event-types")
app.add_typer(deliveries, name="deliveries")
jobs = typer.Typer(help="Recoveries and replays: show, cancel.", no_args_is_help=True)
app.add_typer(jobs, name="jobs")

DELIVERY = ("id", "event.type", "endpoint", "status", "attempt_count", "next_attempt_at")

JOB = ("id", "kind", "status", "progress", "owed", "hastened", "expired", "created_at")

Since = Annotated[str, typer.Option(help="From this time on: 2026-11-25T08:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Up to this time; default: now.")]
Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")]
Web = Annotated[int, typer.Option(min=1, max=128, help="How many web processes.")]


def main() -> None:
    """The entry point: run a command and say plainly why one failed."""
    try:
        app()
    except settings.SettingsError as exc:
        _fail(str(exc), 2)
    except client.Usage as exc:
        _fail(str(exc), 2)
    except (client.Failure, dev.DataDirError, StartError) as exc:
        _fail(str(exc), 1)
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


# -- processes ---------------------------------------------------------------------------------------------------------


@app.command("dev")
def run_dev(
    host: Host = "127.0.0.1",
    port: Port = 8080,
    data_dir: Annotated[
        Path, typer.Option(envvar="HUB_DATA_DIR", help="Where the store, its log and the secrets are kept.")
    ] = Path(".hub"),
    web: Web = 1,
    workers: Annotated[int, typer.Option(min=0, max=128, help="How many worker processes.")] = 1,
) -> None:
    """Run the whole hub on this machine, with its own store."""
    raise SystemExit(processes.run_dev(data_dir, host, port, web, workers, _banner))


@app.command()
def serve(host: Host = "0.0.0.0", port: Port = 8080, web: Web = 1) -> None:  # noqa: S104 - a server in production
    """Run the web processes on the store of HUB_REDIS_URL."""
    configured = settings.load()
    processes.require(configured)
    telemetry.configure(configured, "web" if web == 1 else "serve")
    sock = listening.listen(host, port)
    telemetry.logger().info("listening", url=processes.url_of(sock))
    raise SystemExit(_serve_web(configured, sock, Group("web")) if web == 1 else processes.serve(sock, web))


@app.command("web", hidden=True)
def run_web(
    fd: Annotated[int, typer.Option(help="The inherited listening socket.")],
    ready_fd: Annotated[int | None, typer.Option(help="The inherited pipe that hears when it serves.")] = None,
    name: Annotated[str, typer.Option(help="Its name among the processes of its supervisor.")] = "web",
    group: Annotated[Path | None, typer.Option(help="The folder where they meet.")] = None,
) -> None:
    """Run one web process for a supervisor."""
    configured = settings.load()
    processes.require(configured)
    telemetry.configure(configured, "web")
    raise SystemExit(_serve_web(configured, socket.socket(fileno=fd), Group(name, group), ready_fd))


@app.command()
def worker(concurrency: Annotated[int, typer.Option(min=1, max=10_000, help="Attempts in flight.")] = 200) -> None:
    """Run one worker process on the store of HUB_REDIS_URL."""
    processes.require(settings.load())
    command = processes.worker_command(concurrency)
    os.execv(command[0], command)  # noqa: S606 - it becomes this process, so signals reach it


@app.command("reseal")
def run_reseal() -> None:
    """After HUB_SECRET_KEY was changed: seal the store's secrets under the new key."""
    from hub import reseal
    from hub.core.errors import HubError

    try:
        asyncio.run(reseal.run(os.environ))
    except settings.SettingsError as exc:
        _fail(str(exc), 2)
    except HubError as exc:
        _fail(exc.message, 1)


@app.command("check")
def run_check(host: Host = "0.0.0.0", port: Port = 8080) -> None:  # noqa: S104 - as serve
    """Say what is wrong with the settings, the store, the clock, the data folder and the port, and the mend."""
    from hub import check  # like the web stack below: the client commands start faster without it

    raise SystemExit(asyncio.run(check.run(os.environ, host, port)))


# -- client commands ---------------------------------------------------------------------------------------------------


@app.command()
def publish(
    topic: str,
    type: str,
    data: Annotated[str, typer.Argument(help="JSON; - reads standard input, @FILE a file.")] = "null",
    url: Url = "",
    key: Key = "",
) -> None:
    """Publish one event; prints its id and cursor."""
    print(*client.publish(client.target(url, key), topic, type, data))


@app.command()
def tail(
    topic: Annotated[list[str] | None, typer.Option(help="A topic pattern; may be given again. Default: all.")] = None,
    type: Annotated[list[str] | None, typer.Option(help="A type pattern; may be given again.")] = None,
    after: Annotated[str | None, typer.Option(help="A cursor to go on from; default: now.")] = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """Print events as they come, one JSON line each; connects again after a loss, without missing any."""
    try:
        Feed(client.target(url, key), topic or ["**"], type or [], after).follow()
    except KeyboardInterrupt:
        raise SystemExit(0) from None


@app.command()
def listen(
    forward_to: Annotated[str, typer.Option(help="The URL that gets each event as a signed webhook.")],
    type: Annotated[list[str] | None, typer.Option(help="A type pattern; may be given again. Default: all.")] = None,
    topic: Annotated[list[str] | None, typer.Option(help="A topic pattern; may be given again. Default: all.")] = None,
    after: Annotated[str | None, typer.Option(help="A cursor to go on from; default: now.")] = None,
    secret: Annotated[str | None, typer.Option(help="What to sign with, whsec_…; default: a new one.")] = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """Send live events to a local URL, signed as webhooks, to develop a receiver with."""
    from hub.listen import Forwarder  # signing takes a while to import

    try:
        Forwarder(forward_to, secret).run(client.target(url, key), topic or ["**"], type or [], after)
    except KeyboardInterrupt:
        raise SystemExit(0) from None


@endpoints.command("create")
def create_endpoint(
    target: Annotated[str, typer.Argument(help="The URL that deliveries are sent to.", metavar="URL")],
    type: Annotated[list[str] | None, typer.Option(help="A type pattern; may be given again. Default: all.")] = None,
    topic: Annotated[list[str] | None, typer.Option(help="A topic pattern; may be given again. Default: all.")] = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """Register a webhook endpoint; prints its id and signing secret."""
    filters = {name: patterns for name, patterns in (("types", type), ("topics", topic)) if patterns}
    made = client.create(client.target(url, key), "endpoints", {"url": target, **filters})
    print(made["id"], made["secret"])


@endpoints.command("list")
def list_endpoints(url: Url = "", key: Key = "") -> None:
    """List the webhook endpoints."""
    client.table(client.target(url, key), "endpoints", ("id", "url", "types", "topics", "enabled"))


@endpoints.command("delete")
def delete_endpoint(endpoint_id: str, url: Url = "", key: Key = "") -> None:
    """Delete a webhook endpoint; what it is still owed is cancelled."""
    client.delete(client.target(url, key), "endpoints", endpoint_id)


@endpoints.command("show")
def show_endpoint(endpoint_id: str, url: Url = "", key: Key = "") -> None:
    """Show an endpoint."""
    client.show(client.target(url, key), "endpoints", endpoint_id)


@endpoints.command("stats")
def show_stats(endpoint_id: str, url: Url = "", key: Key = "") -> None:
    """Show an endpoint's figures: success, latency, backlog."""
    client.show(client.target(url, key), "endpoints", endpoint_id, "stats")


@endpoints.command("enable")
def enable_endpoint(endpoint_id: str, url: Url = "", key: Key = "") -> None:
    """Go on with an endpoint; what it collected is sent."""
    client.change(client.target(url, key), "endpoints", endpoint_id, {"enabled": True})


@endpoints.command("disable")
def disable_endpoint(endpoint_id: str, url: Url = "", key: Key = "") -> None:
    """Pause an endpoint: it collects and sends nothing."""
    client.change(client.target(url, key), "endpoints", endpoint_id, {"enabled": False})


@endpoints.command("test")
def send_test_event(
    endpoint_id: str,
    type: Annotated[str, typer.Option(help="The test event's type.")] = "hub.test",
    url: Url = "",
    key: Key = "",
) -> None:
    """Send a test event to an endpoint alone; prints the delivery's id."""
    print(client.act(client.target(url, key), "endpoints", endpoint_id, "test", {"type": type})["id"])


@endpoints.command("recover")
def recover_endpoint(endpoint_id: str, since: Since, until: Until = None, url: Url = "", key: Key = "") -> None:
    """Owe what failed once more; prints the job's id."""
    print(client.act(client.target(url, key), "endpoints", endpoint_id, "recover", _span(since, until))["id"])


@endpoints.command("replay")
def replay_endpoint(endpoint_id: str, since: Since, until: Until = None, url: Url = "", key: Key = "") -> None:
    """Owe all that matched anew, also what was never sent; prints the job's id."""
    print(client.act(client.target(url, key), "endpoints", endpoint_id, "replay", _span(since, until))["id"])


@endpoints.command("jobs")
def list_jobs(endpoint_id: str, url: Url = "", key: Key = "") -> None:
    """List an endpoint's recoveries and replays, newest first."""
    client.table(client.target(url, key), ("endpoints", endpoint_id, "jobs"), JOB)


@deliveries.command("list")
def list_deliveries(
    endpoint: Annotated[str | None, typer.Option(help="Only of this endpoint.")] = None,
    status: Annotated[str | None, typer.Option(help="Only with this status.")] = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """List webhook deliveries, newest first."""
    query = {name: value for name, value in (("endpoint", endpoint), ("status", status)) if value}
    client.table(client.target(url, key), "deliveries", DELIVERY, query)


@deliveries.command("retry")
def retry_delivery(delivery_id: str, url: Url = "", key: Key = "") -> None:
    """Try a delivery again now."""
    client.act(client.target(url, key), "deliveries", delivery_id, "retry")


@deliveries.command("show")
def show_delivery(delivery_id: str, url: Url = "", key: Key = "") -> None:
    """Show a delivery with its attempts."""
    client.show(client.target(url, key), "deliveries", delivery_id)


@deliveries.command("cancel")
def cancel_delivery(delivery_id: str, url: Url = "", key: Key = "") -> None:
    """Give a pending delivery up."""
    client.act(client.target(url, key), "deliveries", delivery_id, "cancel")


@jobs.command("show")
def show_job(job_id: str, url: Url = "", key: Key = "") -> None:
    """Show how far a recovery or a replay has come."""
    client.show(client.target(url, key), "jobs", job_id)


@jobs.command("cancel")
def cancel_job(job_id: str, url: Url = "", key: Key = "") -> None:
    """Owe nothing more by a job; what it owed stays owed."""
    client.act(client.target(url, key), "jobs", job_id, "cancel")


# -- helpers -----------------------------------------------------------------------------------------------------------


def _span(since: str, until: str | None) -> dict[str, str]:
    return {"since": since} if until is None else {"since": since, "until": until}


def _serve_web(configured: settings.Settings, sock: socket.socket, group: Group, ready_fd: int | None = None) -> int:
    from hub import tracing
    from hub.app import run

    tracing.configure(configured, "web")
    try:
        return run(configured, sock, group, ready_fd)
    finally:
        tracing.flush()


def _banner(url: str, key: str) -> str:
    auth = f"-H 'Authorization: Bearer {key}'"
    return f"""
Hub is at {url}
API key: {key}

Publish   curl {url}/v1/events {auth} --json '{{"topic": "orders.42", "type": "order.created", "data": {{"total": 7}}}}'
Stream    curl -N '{url}/v1/stream?topic=orders.**' {auth}
Webhook   curl {url}/v1/endpoints {auth} --json '{{"url": "http://127.0.0.1:9000/hook"}}'
"""


def _fail(message: str, code: int) -> NoReturn:
    print(f"hub: {message}", file=sys.stderr)
    raise SystemExit(code)
