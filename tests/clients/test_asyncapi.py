"""The AsyncAPI document by the schema that its authors publish (npm: @asyncapi/specs)."""

import json
from pathlib import Path

import jsonschema
import pytest

from hub.web.asyncapi import document

pytestmark = pytest.mark.foreign
SCHEMA = Path(__file__).parent / "node_modules/@asyncapi/specs/schemas/3.0.0.json"


def test_the_document_is_valid() -> None:
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(json.loads(json.dumps(document())))
