"""The commands `hub event-types`."""

from typing import Annotated, Any

import typer

from hub import client
from hub.options import Key, Url

event_types = typer.Typer(help="The catalogue of event types: write, list, show, delete.", no_args_is_help=True)

COLUMNS = ("type", "description", "updated_at")


@event_types.command("put")
def put_type(
    type: str,
    description: Annotated[str, typer.Option(help="What the event means.")] = "",
    schema: Annotated[
        str | None, typer.Option(help="JSON Schema that the data must fit; - reads standard input, @FILE a file.")
    ] = None,
    example: Annotated[str | None, typer.Option(help="Data as an example, given like the schema.")] = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """Write a type; what is published from then on must fit its schema. What was there before is replaced."""
    body: dict[str, Any] = {"description": description}
    for name, text in (("schema", schema), ("example", example)):
        if text is not None:
            body[name] = client.payload(text, f"--{name}")
    client.put(client.target(url, key), ("event-types", type), body)


@event_types.command("list")
def list_types(url: Url = "", key: Key = "") -> None:
    """List the catalogue."""
    client.table(client.target(url, key), "event-types", COLUMNS)


@event_types.command("show")
def show_type(type: str, url: Url = "", key: Key = "") -> None:
    """Show a type with its schema and its example."""
    client.show(client.target(url, key), "event-types", type)


@event_types.command("delete")
def delete_type(type: str, url: Url = "", key: Key = "") -> None:
    """Check a type's events no more."""
    client.delete(client.target(url, key), "event-types", type)
