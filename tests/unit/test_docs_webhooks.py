"""The numbers that the guide of webhooks names are those of the code."""

import re
from pathlib import Path
from typing import Final

import pytest

from hub.core import endpoint, expression, retry, rotation
from hub.core.breaker import DAY_MS, POLICY
from hub.settings import SETTINGS
from hub.store import attempts, audience, deliveries, job_steps, jobs
from workers import connection, deliver, slots

GUIDE: Final = " ".join((Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8").split())
DAY: Final = 86_400
MIB: Final = 1024 * 1024
DEFAULT: Final = {one.variable: one.default for one in SETTINGS}


ERRORS: Final = (
    *("status", "redirect", "timeout", "dns", "connect", "tls"),
    *("forbidden", "proxy", "reset", "protocol", "transform", "secret"),
)


def gaps(schedule: tuple[float, ...]) -> str:
    """The cells of the table of attempts."""
    units = (("h", 3600), ("min", 60), ("s", 1))
    named = (next(f"{gap / size:.0f} {unit}" for unit, size in units if gap >= size) for gap in schedule)
    return " | ".join(["at once", *named])


@pytest.mark.parametrize(
    "sentence",
    [
        f"| `types` | every type | 1 to {endpoint.MAX_PATTERNS} type patterns",
        f"| `topics` | every topic but `@…` and `hub…` | 1 to {endpoint.MAX_PATTERNS} topic patterns",
        f"up to {endpoint.MAX_PAIRS} more headers",
        f"a text of {endpoint.MAX_DESCRIPTION} characters; up to {endpoint.MAX_PAIRS} pairs of text",
        f"| `max_in_flight` | {endpoint.DEFAULT_IN_FLIGHT} | 1 to {endpoint.MAX_IN_FLIGHT} attempts at once",
        f"| `max_backlog` | {endpoint.DEFAULT_BACKLOG:,} | 1 to {endpoint.MAX_BACKLOG:,} deliveries",
        f"at most `limit` (1 to {endpoint.MAX_RATE:,}) attempts begin in any `period` seconds (1 to "
        f"{endpoint.MAX_PERIOD:,})",
        f"{endpoint.MIN_TIMEOUT:.0f} to {endpoint.MAX_TIMEOUT:.0f} seconds over name look-up",
        f"nothing but failures for {POLICY.disable // DAY_MS} days",
        f"a time of over {POLICY.idle // DAY_MS} days without an attempt begins them anew",
        f"what is claimed is sent within {deliver.PROMPT * 1000:.0f} ms or given back",
        f"After {POLICY.failures} failures in a row over at least {POLICY.within // 1000} s",
        f"an endpoint is left alone for {POLICY.pause // 1000} s; then one delivery is sent as a probe",
        f"(over {slots.SLOW:.0f} s for an answer) together get at most half",
        f"{expression.MAX_LENGTH} characters, {expression.MAX_NODES} parts, {expression.MAX_DEPTH} levels",
        f"on one event {expression.MAX_STEPS:,} steps",
        f"a result of {expression.MAX_RESULT // MIB} MiB",
        f"All filters of an app together may take {audience.MAX_STEPS:,} steps on one event",
        f"(in seconds, at most {rotation.MAX_GRACE // DAY} days)",
        f"At most {rotation.MOST_AT_ONCE} sign at once",
        f"`Retry-After` (seconds or a date, at most {retry.MAX_DELAY // DAY:.0f} days)",
        gaps(retry.DEFAULT_SCHEDULE),
        f"Up to {retry.JITTER:.0%} are added to each gap at random",
        f"At most {deliveries.SCAN_BUDGET} are looked at for one page",
        f"up to {connection.MAX_HEADERS} response `headers`",
        f"of failures up to {attempts.MAX_BODY // 1024} KiB",
        f"`HUB_ATTEMPT_RETENTION` ({int(DEFAULT['HUB_ATTEMPT_RETENTION']) // DAY} days)",
        f"at most {attempts.MAX_BYTES // MIB} MiB of them per delivery partition",
        f"(the newest {jobs.MOST_KEPT})",
        f"while {job_steps.MOST_DUE} are due",
    ],
)
def test_a_number_in_the_guide_is_the_codes(sentence: str) -> None:
    assert " ".join(sentence.split()) in GUIDE


def test_what_the_guide_has_in_words_is_so_too() -> None:
    assert "the pause doubles up to a minute" in GUIDE
    assert POLICY.longest == 60_000
    assert "Five jobs of an endpoint may run at once" in GUIDE
    assert jobs.MOST_RUNNING == 5


def test_the_defaults_of_the_settings_are_those_that_the_code_and_the_contract_name() -> None:
    schedule = tuple(float(one) for one in (DEFAULT["HUB_RETRY_SCHEDULE"] or "").split(","))
    assert schedule == retry.DEFAULT_SCHEDULE
    assert (DEFAULT["HUB_WEBHOOK_TIMEOUT"], DEFAULT["HUB_ATTEMPT_RETENTION"]) == ("15", "604800")


@pytest.mark.parametrize("code", ERRORS)
def test_every_error_of_an_attempt_has_its_row(code: str) -> None:
    assert re.search(rf"\| (`\w+`, )*`{code}`(, `\w+`)* \|", GUIDE)
