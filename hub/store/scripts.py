"""The Lua scripts: one file each, whose header states its KEYS, ARGV and returns; loaded on every connection."""

import functools
import hashlib
import re
from importlib.resources import files

import msgspec

_INCLUDE = re.compile(r"^-- include ([a-z_]+)\n", re.MULTILINE)


class Script(msgspec.Struct, frozen=True):
    """A script's full text and its hash, by which EVALSHA names it."""

    source: str
    sha: str


@functools.cache
def script(name: str) -> Script:
    """The script of `lua/NAME.lua`; a line `-- include OTHER` stands for that file's text."""
    source = _INCLUDE.sub(lambda found: _text(found[1]) + "\n", _text(name))
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def sources() -> list[str]:
    """Every script's text; the files that are only included by others (they lack the `#!` line) are left out."""
    names = sorted(file.name.removesuffix(".lua") for file in files("hub.store").joinpath("lua").iterdir())
    return [script(name).source for name in names if _text(name).startswith("#!lua")]


def _text(name: str) -> str:
    return files("hub.store").joinpath("lua", f"{name}.lua").read_text()
