"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing on a machine that is shared.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Models come from packages and from the tests themselves, never from a hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# A worker of several has a core to itself: threads of its own for a product of small matrices would wait in
# loops for those of the other workers, and everything takes many times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@pytest.fixture(scope="session")
def judged_collections() -> Path:
    """The folder of judged collections: named by the environment, or beside the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("RETRIEVAL_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no judged collections: set RETRIEVAL_TEST_DATA to their folder")
    return folder
