"""What servers log while no test runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from server.observing.logs import _Stderr

__all__ = ["quiet_between_tests"]


@pytest.fixture(scope="session", autouse=True)
def quiet_between_tests(pytestconfig: pytest.Config) -> Iterator[None]:
    """A server's threads log when they come to it, also between two tests, while pytest has given stderr
    back: such lines are dropped. Those of a test are shown where it fails."""
    if pytestconfig.getoption("capture") == "no":
        yield
        return
    write = _Stderr.write

    def captured(sink: _Stderr, text: str) -> None:
        if sys.stderr is not sys.__stderr__:
            write(sink, text)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_Stderr, "write", captured)
        yield
