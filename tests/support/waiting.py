"""Waiting for conditions, with a deadline; never for a guessed time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 15.0) -> T:
    """The first true value of the condition; fails after the deadline, saying what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain until {what}; last: {value!r}")
        time.sleep(0.01)


async def eventually(condition: Callable[[], T | Awaitable[T]], what: str, seconds: float = 15.0) -> T:
    """The same for a condition that may be a coroutine."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        value = cast("T", await found) if inspect.isawaitable(found) else found
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain until {what}; last: {value!r}")
        await asyncio.sleep(0.01)
