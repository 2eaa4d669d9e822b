"""How an event's deliveries are named and recorded: references, delivery ids, and a record's fields."""

import re
from typing import Final, NamedTuple

from hub.core.cursor import Position
from hub.core.endpoint import ID

DELIVERY: Final = re.compile(
    r"dlv_((?:0|[1-9]\d{0,3})-(?:0|[1-9]\d{0,15})-(?:0|[1-9]\d{0,19})(?:-[1-9]\d{0,15})?)_([0-9a-f]{24})"
)
_JOB = re.compile(r"job_([0-9a-f]{24})_([1-9]\d{0,15})")
TESTS: Final = 1
"""The origin of test events, which are in no log. Jobs have greater ones."""

STATUSES: Final = {"p": "pending", "s": "succeeded", "x": "exhausted", "c": "cancelled"}


class Ref(NamedTuple):
    """Names an event among the deliveries: its log partition, its place there, and why it is owed: 0, because it
    matched when it was published, or the number of the job that owes it again. The text is `partition-ms-seq`, with an
    origin behind it that isn't 0.
    """

    partition: int
    ms: int
    seq: int
    origin: int = 0

    def __str__(self) -> str:
        text = f"{self.partition}-{self.ms}-{self.seq}"
        return f"{text}-{self.origin}" if self.origin else text

    @property
    def position(self) -> Position:
        return (self.ms, self.seq)


def parse_ref(text: str) -> Ref:
    return Ref(*map(int, text.split("-")))


def delivery_id(ref: Ref, endpoint_id: str) -> str:
    """What users call a delivery: it names its event and endpoint, so it is found directly."""
    return f"dlv_{ref}_{endpoint_id.removeprefix('ep_')}"


def parse_delivery_id(text: str) -> tuple[Ref, str] | None:
    """The reference and the endpoint id, or None where the text is no delivery id."""
    found = DELIVERY.fullmatch(text)
    return None if found is None else (parse_ref(found[1]), f"ep_{found[2]}")


def job_id(endpoint_id: str, number: int) -> str:
    """What users call a job: it names its endpoint, so it is found directly."""
    return f"job_{endpoint_id.removeprefix('ep_')}_{number}"


def parse_job_id(text: str) -> tuple[str, int] | None:
    """The endpoint id and the number, or None where the text is no job id."""
    found = _JOB.fullmatch(text)
    return None if found is None else (f"ep_{found[1]}", int(found[2]))


def is_endpoint_id(text: str) -> bool:
    return ID.fullmatch(text) is not None


class Standing(NamedTuple):
    """How one delivery stands (see delivery.lua). `at` is when it is due or when it ended, in ms."""

    status: str
    attempts: int
    generation: int
    base: int
    at: int
    history: list[str]


def parse_standing(raw: bytes) -> Standing:
    status, attempts, generation, base, at, history = raw.decode().split(" ")
    return Standing(
        STATUSES[status], int(attempts), int(generation), int(base), int(at), history.split(",") if history else []
    )
