"""A program and Python without the seconds each process takes to import models' libraries.

One process imports them and forks for each command, which gets the files, the folder and the arguments of
whoever asked. What a command does alone, without what others imported, is to be tested with real ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

__all__ = ["preloaded"]

ROOT = Path(__file__).parents[1]
CLIENT = """
import json, os, socket, sys
if sys.argv[2] == "retrieval" and sys.argv[3] in {alone!r}:
    os.execv({program!r}, sys.argv[2:])
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect(sys.argv[1])
    socket.send_fds(asking, [json.dumps([os.getcwd(), sys.argv[2:]]).encode()], [0, 1, 2])
    sys.exit(int(asking.recv(16) or b"1"))
"""


@contextlib.contextmanager
def preloaded(alone: tuple[str, ...]) -> Iterator[Path]:
    """A folder with ``retrieval`` and ``python-c CODE``. Commands of the program named in ``alone`` are real
    processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        address = str(folder / "socket")
        _write_scripts(folder, address, alone)
        command = [sys.executable, "-m", "tests.preloaded", address]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None and server.stdout.readline() == b"ready\n"
            try:
                yield folder
            finally:
                server.kill()


def _write_scripts(folder: Path, address: str, alone: tuple[str, ...]) -> None:
    client = folder / "client.py"
    program = str(Path(sys.executable).parent / "retrieval")
    client.write_text(CLIENT.format(alone=alone, program=program))
    for name in ("retrieval", "python-c"):
        script = f'#!/bin/sh\nexec "{sys.executable}" -IS "{client}" "{address}" {name} "$@"\n'
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)


def serve(address: str) -> None:
    """Fork for each command, until killed."""
    import sentence_transformers  # noqa: F401 -- with torch and transformers: seconds

    import index_tools.main  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while True:
            asked, _ = listening.accept()
            with asked:
                if os.fork() == 0:
                    _answer(asked)


def _answer(asked: socket.socket) -> None:
    """What the forked process does. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sent, files, _, _ = socket.recv_fds(asked, 1 << 16, 3)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 -- to the end
    cwd, command = json.loads(sent)
    os.chdir(cwd)
    code = _run(command)
    sys.stdout.flush()
    sys.stderr.flush()
    asked.sendall(str(code).encode())
    os._exit(0)


def _run(command: list[str]) -> int:
    from index_tools.main import main

    try:
        if command[0] == "retrieval":
            return main(command[1:])
        sys.path[0] = ""
        exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # noqa: BLE001 -- as an interpreter ends
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
