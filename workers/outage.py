"""Tells of an outage when it begins and when it ends, instead of at every try."""

from hub.telemetry import logger


class Outage:
    """What one task can't do while the store is away or full."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._is_on = False

    def began(self, error: str) -> None:
        if not self._is_on:
            self._is_on = True
            logger().warning(f"{self._task} waits", error=error)

    def ended(self) -> None:
        if self._is_on:
            self._is_on = False
            logger().info(f"{self._task} goes on")
