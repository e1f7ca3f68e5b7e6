"""The description of the REST interface is valid, and the server keeps to it, whatever it is sent."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fixtures.playground import Playground

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ENDLESS = "/api/v1/projects/{project}/events"
few = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def document(flow: Playground) -> dict[str, Any]:
    return dict(flow.get("/api/v1/openapi.json"))


@pytest.fixture
def known(flow: Playground) -> dict[str, str]:
    """What the variable parts of paths may name: things that are there."""
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    flow.settle(run, "0", "d", outputs={"result": 1})
    flow.finish(run, "succeeded", succeeded=4)
    (artifact,) = flow.get("artifacts", run=run)["items"]
    things = {"run": run, "node": "0", "artifact": str(artifact["id"]), "name": "flow", "digest": artifact["digest"]}
    return {"project": "default", **things}


def test_the_openapi_document_is_valid(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def is_stream(answer: Response) -> bool:
    """Of server-sent events the whole is described, as text, and not each event."""
    return answer.headers["content-type"][0].startswith("text/event-stream")


def test_the_server_keeps_to_its_description_whatever_it_is_sent(
    flow: Playground, document: dict[str, Any], known: dict[str, str]
) -> None:
    """Half of the calls name things that are there; all of them end, and none is a mistake of the server."""
    statuses = set()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()

        @few
        @given(case=operation.as_strategy(), really=st.booleans())
        def keeps_to_it(case: schemathesis.Case, really: bool) -> None:
            if really and case.path != ENDLESS:
                given = case.path_parameters
                given.update({name: value for name, value in known.items() if name in given})
            answer = case.call(base_url=flow.url)
            checks = [check for check in CHECKS if not is_stream(answer) or check is not response_schema_conformance]
            case.validate_response(answer, checks=checks)
            statuses.add(answer.status_code)

        keeps_to_it()
    assert {200, 404, 422} <= statuses
