"""The OpenAPI document: valid, and neither more nor less than the routes, errors and headers of the code."""

import re
from collections.abc import Iterator
from typing import Any, cast

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route, WebSocketRoute

from hub.app import OPERATIONS, create_app
from hub.core.errors import HubError
from hub.settings import load
from hub.store import outbox
from hub.web.cors import TOLD
from hub.web.document_parts import OPERATIONAL
from hub.web.error_pages import all_errors
from hub.web.http import Problem
from hub.web.openapi import document, operation_id
from hub.web.operation import Operation, Resource

DOCUMENT: dict[str, Any] = document(OPERATIONS)
ANSWERING = [one for one in OPERATIONS if one.answer is not None or one.media == "text/event-stream"]
"""All but those that answer nothing, or a page or a document."""


def described() -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_of_the_app_is_described_and_nothing_else() -> None:
    served: set[tuple[str, str]] = set()
    for route in create_app(load({})).routes:
        if isinstance(route, WebSocketRoute):  # described by the operation on the same path
            served.add(("GET", route.path))
            continue
        assert isinstance(route, Route)
        assert isinstance(route.endpoint, Resource), f"{route.path} is not declared as an operation"
        path = re.sub(r":[a-z]+}", "}", route.path)
        served |= {(method, path) for method in route.endpoint.operations if method != "HEAD"}
    assert served == described()


@pytest.mark.parametrize("error", list(all_errors()), ids=lambda error: error.code)
def test_every_error_is_among_the_codes_and_the_answers(error: type[HubError]) -> None:
    assert error.code in DOCUMENT["components"]["schemas"]["ErrorCode"]["enum"]
    answered = {code for name in DOCUMENT["components"]["responses"] for code in name.split(".")}
    assert error.code in answered, "name it among some operation's errors"


@pytest.mark.parametrize("name", TOLD)
def test_every_header_that_pages_may_read_is_described(name: str) -> None:
    assert name in DOCUMENT["components"]["headers"]


@pytest.mark.parametrize("name", DOCUMENT["components"]["headers"])
def test_every_header_that_is_described_is_some_answers(name: str) -> None:
    assert f"'$ref': '#/components/headers/{name}'" in str(DOCUMENT)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.path.startswith("/v1/")], ids=operation_id)
def test_every_answer_of_a_version_says_which_and_how_the_limits_stand(operation: Operation) -> None:
    made = DOCUMENT["paths"][re.sub(r":[a-z]+}", "}", operation.path)][operation.method.lower()]
    for status, answer in made["responses"].items():
        if status in operation.more_answers:
            continue
        if "$ref" in answer:
            answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        carried = {"X-Request-ID", "API-Version", "Deprecation", "Sunset", "Link", "RateLimit", "RateLimit-Policy",
                   "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}  # fmt: skip
        assert carried <= answer["headers"].keys(), status


def test_every_reference_leads_somewhere() -> None:
    for reference in re.findall(r"'\$ref': '#/([^']+)'", str(DOCUMENT)):
        node: Any = DOCUMENT
        for step in reference.split("/"):
            node = node[step]


def test_no_two_operations_are_called_the_same() -> None:
    ids = [operation_id(operation) for operation in OPERATIONS]
    assert sorted(ids) == sorted(set(ids))
    assert all(re.fullmatch(r"[a-z]+[A-Za-z]+", one) for one in ids)


@pytest.mark.parametrize("operation", OPERATIONS, ids=operation_id)
def test_every_operation_says_what_it_does(operation: Operation) -> None:
    made = DOCUMENT["paths"][re.sub(r":[a-z]+}", "}", operation.path)][operation.method.lower()]
    assert len(made["summary"]) > 3
    assert made["description"]
    assert all(answer.get("description") or "$ref" in answer for answer in made["responses"].values())
    assert {"400", "406", "429", "500"} <= made["responses"].keys()


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.body is not None], ids=operation_id)
def test_every_body_has_an_example(operation: Operation) -> None:
    assert operation.body is not None
    assert operation.body.example is not None


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body that the document describes, by where it is."""

    def walk(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(node, list):
            for index, part in enumerate(cast("list[Any]", node)):
                yield from walk(part, f"{path}/{index}")
        elif isinstance(node, dict):
            parts = cast("dict[str, Any]", node)
            for name, part in parts.items():
                if name == "content":
                    yield from ((f"{path} {media}", content) for media, content in part.items())
                elif name != "schemas":
                    yield from walk(part, f"{path}/{name}")

    yield from walk(DOCUMENT, "")


CONTENTS = dict(contents())


def examples(content: dict[str, Any]) -> list[Any]:
    several = [one["value"] for one in content.get("examples", {}).values()]
    return [content["example"]] if "example" in content else several


@pytest.mark.parametrize("where", [where for where, content in CONTENTS.items() if examples(content)])
def test_every_example_fits_its_schema(where: str) -> None:
    schema = {**CONTENTS[where]["schema"], "components": DOCUMENT["components"]}
    for example in examples(CONTENTS[where]):
        jsonschema.validate(example, schema, jsonschema.Draft202012Validator)


def test_whatever_is_json_has_an_example_but_the_documents() -> None:
    without = {where for where, content in CONTENTS.items() if "json" in where.split()[-1] and not examples(content)}
    assert without == {
        f"/paths//{name}/get/responses/200 application/json" for name in ("openapi.json", "asyncapi.json")
    }


@pytest.mark.parametrize("name", DOCUMENT["components"]["responses"])
def test_every_error_that_is_answered_has_an_example_in_both_forms(name: str) -> None:
    forms = DOCUMENT["components"]["responses"][name]["content"]
    envelopes, problems = forms["application/json"]["examples"], forms["application/problem+json"]["examples"]
    assert set(envelopes) == set(problems) == set(name.split("."))
    for code in envelopes:
        error, problem = envelopes[code]["value"]["error"], problems[code]["value"]
        assert error["code"] == problem["code"] == code
        assert msgspec.json.decode(msgspec.json.encode(msgspec.convert(problem, Problem))) == problem


@pytest.mark.parametrize("operation", ANSWERING, ids=operation_id)
def test_every_operation_has_an_example_of_its_request_and_of_its_answer_with_every_field(operation: Operation) -> None:
    made = DOCUMENT["paths"][re.sub(r":[a-z]+}", "}", operation.path)][operation.method.lower()]
    for content in made.get("requestBody", {"content": {}})["content"].values():
        assert examples(content)
    (content,) = made["responses"][str(operation.status)]["content"].values()
    (example,) = examples(content)
    if operation.media is None:
        example = example["data"]
    if operation.answer is not None:
        kind = list[operation.answer] if operation.is_list else operation.answer
        assert msgspec.json.decode(msgspec.json.encode(msgspec.convert(example, kind))) == example


@pytest.mark.parametrize("name", DOCUMENT["webhooks"])
def test_every_webhook_has_examples(name: str) -> None:
    for content in DOCUMENT["webhooks"][name]["post"]["requestBody"]["content"].values():
        assert examples(content)


def test_every_event_of_the_hubs_own_is_a_webhook() -> None:
    assert outbox.FILTER_FAILED in OPERATIONAL
    assert DOCUMENT["webhooks"].keys() == {"event", *OPERATIONAL}
