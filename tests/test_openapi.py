"""docs/openapi.json is what the routes are, and a validator accepts it."""

from __future__ import annotations

import json

from openapi_spec_validator import validate

from docs import write_openapi


def test_every_route_is_described_and_nothing_else():
    found = write_openapi.routes(write_openapi.application())
    assert found == set(write_openapi.OPERATIONS)


def test_the_file_is_what_the_code_says():
    assert write_openapi.FILE.read_text("utf-8") == write_openapi.written()


def test_a_validator_accepts_it():
    document = json.loads(write_openapi.FILE.read_text("utf-8"))
    validate(document)
    assert document["paths"]["/getAnwser"]["post"]["requestBody"]["required"]


def test_the_fields_of_a_question_have_their_ranges():
    fields = json.loads(write_openapi.FILE.read_text("utf-8"))["components"]["schemas"]["Question"]["properties"]
    assert fields["temperature"]["anyOf"][0]["maximum"] == 2 and fields["question"]["maxLength"] == 8000
