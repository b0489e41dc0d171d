"""``python -m tests.http.serving``: a server process whose encoder needs no model, and processes of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.encoders import HashingDense

__all__ = ["Running", "running"]

ROOT = Path(__file__).parents[2]


class Patient(HashingDense):
    """Takes the time that a query asks for: ``wait 1.5``."""

    def encode_query(self, texts: Any) -> Any:
        for text in texts:
            if asked := re.fullmatch(r"wait (\d+(?:\.\d+)?).*", text):
                time.sleep(float(asked[1]))
        return self.encode_document(texts)


class Running:
    """A process that serves. ``events`` are its log, read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.other: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def address(self) -> str:
        """The first one it listens on."""
        return str(self.until("serving")["addresses"][0])

    def until(self, event: str, seconds: float = 60) -> dict[str, Any]:
        """The first line with this event."""
        deadline = time.monotonic() + seconds
        while True:
            found = next((each for each in list(self.events) if each.get("event") == event), None)
            if found is not None:
                return found
            assert time.monotonic() < deadline, f"no {event!r}: {self.events} {self.other}"
            assert self._reader.is_alive() or self.process.poll() is None, f"ended: {self.other}"
            time.sleep(0.01)

    def ended(self, seconds: float = 60) -> int:
        """Its exit code, when it has ended and everything it said has been read."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.other.append(line)


@contextmanager
def running(*, module: str = "tests.http.serving", cwd: Path, **settings: Any) -> Iterator[Running]:
    """A process that serves with these settings on a free port."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RETRIEVAL_")}
    values = {"port": 0, **settings}
    env |= {f"RETRIEVAL_SERVER_{name.upper()}": str(value) for name, value in values.items()}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    command = [sys.executable, "-m", module]
    process = subprocess.Popen(command, cwd=cwd, env=env, stderr=subprocess.PIPE, text=True)
    one = Running(process)
    try:
        yield one
    finally:
        process.kill()
        one.ended()
        assert process.stderr is not None
        process.stderr.close()


def main() -> None:
    """Serve what the environment says."""
    from server.process import run
    from server.settings import ServerSettings

    settings = ServerSettings()
    run(settings, encoders={name: Patient() for name in settings.collection_paths()})


if __name__ == "__main__":
    main()
