"""What stands in docker/: no container engine runs here, so it is read, linted, held against the project."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from server.security.keys import new_key
from server.settings import ServerSettings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
FILES = ["Dockerfile", "Dockerfile.cuda"]
PREFIX = "RETRIEVAL_SERVER_"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions(name: str) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile and its argument, continued lines joined."""
    lines = [line for line in (DOCKER / name).read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def last_stage(name: str) -> list[tuple[str, str]]:
    found = instructions(name)
    return found[max(i for i, (word, _) in enumerate(found) if word == "FROM") :]


def environment(name: str) -> dict[str, str]:
    pairs = [pair for word, rest in last_stage(name) if word == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


@pytest.mark.parametrize("name", FILES)
def test_the_linter_is_content(name):
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if linter is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([linter, str(DOCKER / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_the_image_is_not_root_s_and_runs_the_server_itself(name):
    found = last_stage(name)
    words = [word for word, _ in found]
    assert dict(found)["USER"] == "10001:10001"
    # Nothing after it becomes root again; a command in exec form gets the signal to stop.
    assert words.index("USER") < words.index("CMD")
    assert json.loads(dict(found)["CMD"]) == ["python", "-m", "server"]
    assert dict(found)["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(dict(found)["HEALTHCHECK"].partition("CMD ")[2])[0] == "python"
    assert set(json.loads(dict(found)["VOLUME"])) == {"/data", "/cache"}
    assert dict(found)["EXPOSE"] == environment(name)["RETRIEVAL_SERVER_PORT"]
    assert dict(found)["WORKDIR"] not in ("/data", "/cache", "/tmp")  # retrieval.toml is read from there


@pytest.mark.parametrize("name", FILES)
def test_bases_are_pinned_and_no_index_is_named(name):
    text = (DOCKER / name).read_text()
    bases = [rest for word, rest in instructions(name) if word == "FROM"]
    arguments = dict(rest.split("=", 1) for word, rest in instructions(name) if word == "ARG" and "=" in rest)
    for base in bases:
        image, _, tag = base.partition(" ")[0].partition(":")
        if not tag:
            assert any(other.endswith(f" AS {image}") for other in bases)
            continue
        chosen = arguments[tag.strip("${}")]
        assert chosen != "latest" and re.match(r"\d+\.\d+", chosen)
    assert "http://" not in text and "https://" not in text


@pytest.mark.parametrize("name", FILES)
def test_what_is_installed_is_what_the_project_names(name):
    runs = [rest for word, rest in instructions(name) if word == "RUN"]
    installs = [part for run in runs for part in run.split("&&") if "pip install" in part]
    assert len(installs) == 2
    assert all("-c constraints.txt" in install for install in installs)
    torch, project = installs
    assert torch.split()[-1] == "torch"
    assert ("TORCH_INDEX" in torch) == (name == "Dockerfile")
    asked = re.search(r"'\.\[(.+)\]'", project)
    assert asked is not None
    assert set(asked[1].split(",")) <= set(PROJECT["optional-dependencies"])
    assert "server" in asked[1] and "minilm" in asked[1]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    extras = [need for extra in asked[1].split(",") for need in PROJECT["optional-dependencies"][extra]]
    for need in [*PROJECT["dependencies"], *extras]:
        assert re.split(r"[<>=\[]", need)[0].lower().replace("_", "-") in pinned, need


@pytest.mark.parametrize("name", FILES)
def test_everything_that_is_copied_is_there_and_not_ignored(name):
    let_in = {
        line[1:].strip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for word, rest in instructions(name):
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists() and source in let_in
    packages = {package.split("*")[0] for package in ("retrieval*", "server*", "index_tools*")}
    assert packages <= let_in


@pytest.mark.parametrize("name", FILES)
def test_the_python_is_one_that_the_project_supports(name):
    lowest = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    if name == "Dockerfile":
        found = re.search(r"ARG PYTHON=(\d+)\.(\d+)", (DOCKER / name).read_text())
        assert found is not None and tuple(map(int, found.groups())) >= lowest


def test_every_variable_is_a_setting():
    named = set()
    for file in DOCKER.iterdir():
        named |= set(re.findall(rf"{PREFIX}([A-Z_]*[A-Z])", file.read_text()))
    assert named
    assert {name.lower() for name in named} <= set(ServerSettings.model_fields)


@pytest.mark.parametrize("name", FILES)
def test_the_image_s_settings_are_accepted(name, tmp_path, monkeypatch):
    keys = tmp_path / "keys.toml"
    keys.write_text(f'me = {{ sha256 = "{new_key()[1]}", scope = "admin" }}\n')
    for variable, value in environment(name).items():
        if variable.startswith(PREFIX):
            monkeypatch.setenv(variable, str(keys) if variable.endswith("KEYS_FILE") else value)
    settings = ServerSettings()
    assert settings.host == "0.0.0.0" and settings.data_dir == Path("/data")
    assert set(settings.all_keys) == {"me"}


@pytest.mark.parametrize("service", ["server", "replica"])
def test_services_are_locked_in(service):
    found = compose()["services"][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["user"] == "10001:10001"
    assert found["secrets"] == ["retrieval_keys"]
    assert all(port.startswith("127.0.0.1:") for port in found["ports"])
    assert any(each.startswith("/tmp:") for each in found["tmpfs"])
    assert {each.partition(":")[2] for each in found["volumes"]} == {"/data", "/cache"}
    assert found["healthcheck"]["test"] == ["CMD", "python", "/opt/retrieval/healthy.py"]
    drain = float(found["environment"][f"{PREFIX}DRAIN_SECONDS"])
    assert float(found["stop_grace_period"].removesuffix("s")) > 2 * drain + 5


def test_compose_names_only_what_it_defines():
    found = compose()
    for service in found["services"].values():
        assert {each.partition(":")[0] for each in service["volumes"]} <= set(found["volumes"])
        assert set(service["secrets"]) <= set(found["secrets"])
    build = found["services"]["server"]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).is_file()
    assert set(build["args"]) == {"TORCH_INDEX"}
    assert found["services"]["replica"]["environment"][f"{PREFIX}READ_ONLY"] == "true"
    assert found["services"]["replica"]["profiles"] == ["replica"]
    assert environment("Dockerfile")[f"{PREFIX}KEYS_FILE"] == "/run/secrets/retrieval_keys"


@pytest.fixture
def healthy(monkeypatch):
    spec = importlib.util.spec_from_file_location("healthy", DOCKER / "healthy.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.parametrize("status, code", [(200, 0), (400, 0), (503, 1)])
def test_the_health_check_asks_the_server(healthy, monkeypatch, status, code):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv(f"{PREFIX}PORT", str(server.server_port))
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert healthy() == code
        thread.join(30)
    assert asked == ["/livez"]


def test_the_health_check_fails_where_nobody_listens(healthy, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv(f"{PREFIX}PORT", str(port))
    assert healthy() == 1
