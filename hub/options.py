"""The options that all client commands share."""

from typing import Annotated

import typer

Url = Annotated[str, typer.Option(envvar="HUB_URL", help="The hub's base URL; without it, the hub dev of this folder.")]
Key = Annotated[
    str, typer.Option(envvar="HUB_KEY", help="An API key; without it, the one of the hub dev of this folder.")
]
