"""The API keeps to its own description, whatever is sent: generated requests to every operation."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from retrieval import Engine
from server.app import create_app
from server.settings import ServerSettings
from tests.encoders import HashingDense, HashingLate
from tests.http.conftest import documents
from tests.http.living import listening
from tests.http.test_openapi import OPERATIONS

EXAMPLES = int(os.environ.get("RETRIEVAL_CONTRACT_EXAMPLES", "15"))
"""A generated request each, for every operation; more by hand."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
MODES = st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
COLLECTIONS = ("late", "dense", "no-such")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict, str]]:
    """The description, and where to send requests."""
    folder = tmp_path_factory.mktemp("contract")
    Engine.build(folder / "dense", documents(), HashingDense())
    Engine.build(folder / "late", documents(), HashingLate())
    values = {
        "data_dir": folder,
        "search_threads": 2,
        "max_limit": 50,
        "timeout_ms": 60_000,
        "max_body_bytes": 64 << 20,
    }
    app = create_app(ServerSettings(**values), encoders={"dense": HashingDense(), "late": HashingLate()})
    with listening(app) as port:
        yield app.openapi(), f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def described(served: tuple[dict, str]):
    return schemathesis.openapi.from_dict(served[0])


@pytest.mark.parametrize("operation", OPERATIONS.split("\n")[1:-1])
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@given(data=st.data())
def test_every_operation(operation: str, described, served: tuple[dict, str], data: st.DataObject) -> None:
    method, _, path = operation.partition(" ")
    case = data.draw(described[path][method].as_strategy(generation_mode=data.draw(MODES)))
    if "collection" in (case.path_parameters or {}) and case.method != "DELETE":
        # Mostly one that is there, so that more is seen than 404.
        case.path_parameters["collection"] = COLLECTIONS[len(repr(case.body)) % len(COLLECTIONS)]
    asked = case.query or {}
    # Bad documents are told in the answer then, or at the end of the task.
    is_lenient = asked.get("on_error") == "skip" or asked.get("ack") == "task"
    checks = [check for check in CHECKS if not (is_lenient and check is negative_data_rejection)]
    case.call_and_validate(base_url=served[1], checks=checks, timeout=30)
