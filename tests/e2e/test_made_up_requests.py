"""Requests that schemathesis makes up from the document that a running hub serves, alone and in sequences along the
document's links: no 5xx, and every answer's status, media type, headers and body are as the document says."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, Final

import hypothesis
import pytest
import schemathesis
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis import checks as known

from hub.app import OPERATIONS
from hub.web.openapi import operation_id
from hub.web.operation import Operation
from tests.support.hub import KEY, Hub

_ENDLESS: Final = frozenset({"/v1/stream", "/v1/poll"})
"""Answered when something happens."""
_known: Final[Any] = known
CHECKS: Final[tuple[Any, ...]] = (
    _known.not_a_server_error,
    _known.status_code_conformance,
    _known.content_type_conformance,
    _known.response_headers_conformance,
    _known.response_schema_conformance,
)
SETTINGS: Final = hypothesis.settings(
    max_examples=4, derandomize=True, deadline=None, database=None, phases=[hypothesis.Phase.generate],
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)  # fmt: skip
EXAMPLES: Final = {
    f"POST {one.path}": one.body.example
    for one in OPERATIONS
    if one.body is not None and one.method == "POST" and one.status in (201, 202) and "{" not in one.path
}
ROUNDS: Final = 4
WITHIN: Final = 10.0
HEADERS: Final = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def served() -> Iterator[Any]:
    """The document of a hub of its own: what is made up makes apps, keys and endpoints."""
    with Hub(HUB_PUBLIC_URL="https://hub.example") as running:  # without it a handshake is answered by 501
        yield schemathesis.openapi.from_url(running.url("/openapi.json"))


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.path not in _ENDLESS], ids=operation_id)
def test_whatever_is_asked_is_answered_as_the_document_says(served: Any, operation: Operation) -> None:
    described = served.find_operation_by_id(operation_id(operation))

    @hypothesis.given(case=described.as_strategy())
    @SETTINGS
    def ask(case: Any) -> None:
        case.call_and_validate(headers=HEADERS, checks=CHECKS, timeout=WITHIN)

    ask()


def test_sequences_along_the_documents_links_are_answered_as_it_says(served: Any) -> None:
    followed, numbers = set[str](), itertools.count()

    class Walk(served.as_state_machine()):
        def before_call(self, case: Any) -> None:
            """What is made up seldom makes something: whatever begins a sequence is the document's example."""
            if case.operation.label in EXAMPLES:
                case.body = {**EXAMPLES[case.operation.label]}
                if case.path == "/v1/apps":
                    case.body["id"] = f"made-{next(numbers)}"

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": HEADERS, "timeout": WITHIN}

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)
            if response.status_code < 300:
                followed.add(case.operation.label)

    # Which links a walk may follow depends on the answers, which Hypothesis takes for a fault when it compares walks.
    # That ends a round early and says nothing of the hub; what an answer breaks is raised as what it is.
    settings = hypothesis.settings(SETTINGS, max_examples=8, stateful_step_count=6, derandomize=False)
    for number in range(ROUNDS):
        hypothesis.seed(number)(Walk)
        with contextlib.suppress(FlakyStrategyDefinition):
            Walk.run(settings=settings)
    linked = {name for name in followed if "{id}" in name}
    assert linked, "no link led to what was made: the sequences prove nothing"
