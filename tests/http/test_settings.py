from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.errors import ConfigError
from server.settings import ServerSettings

ROOT = Path(__file__).parents[2]


def test_defaults():
    settings = ServerSettings()
    assert (settings.host, settings.port, settings.max_limit) == ("127.0.0.1", 8080, 1000)
    assert 1 <= settings.search_threads <= 4
    assert settings.max_body_bytes == 1 << 20


def test_values_win_over_environment_over_file(monkeypatch, tmp_path):
    (tmp_path / "my.toml").write_text(
        '[server]\nport = 1\nmax_limit = 11\nhost = "::1"\n[server.collections]\na = "x/a"\n[other]\nz = 1\n'
    )
    monkeypatch.setenv("RETRIEVAL_CONFIG", str(tmp_path / "my.toml"))
    monkeypatch.setenv("RETRIEVAL_SERVER_PORT", "2")
    monkeypatch.setenv("RETRIEVAL_SERVER_MAX_LIMIT", "12")
    settings = ServerSettings(max_limit=13)
    assert (settings.host, settings.port, settings.max_limit) == ("::1", 2, 13)
    assert settings.collections == {"a": Path("x/a")}


def test_the_file_in_the_current_folder(tmp_path):
    (tmp_path / "retrieval.toml").write_text('encoder = "minilm"\n[server]\nport = 99\ndevice = "cpu"\n')
    assert ServerSettings().port == 99
    assert ServerSettings().runtime().device == "cpu"


def test_collections_from_the_environment(monkeypatch):
    monkeypatch.setenv("RETRIEVAL_SERVER_COLLECTIONS", '{"a-1": "/x/y"}')
    assert ServerSettings().collections == {"a-1": Path("/x/y")}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"port": 70_000}, "port=70000"),
        ({"port": "many"}, "port='many'"),
        ({"search_threads": 0}, "search_threads=0"),
        ({"max_limit": 9}, "max_limit=9"),  # the default of a request is 10
        ({"dtype": "int3"}, "dtype='int3'"),
        ({"prot": 1}, "'prot': there is no such setting"),
        ({"collections": {"Bad Name": "x"}}, "Bad Name"),
        ({"collections": {"-a": "x"}}, "-a"),
        ({"collections": {"a" * 65: "x"}}, "a" * 65),
        ({"collections": {"a/b": "x"}}, "a/b"),
        ({"collections": {"a\n": "x"}}, "a"),
        ({"collections": "x"}, "collections='x'"),
        ({"host": "0.0.0.0"}, "there is no key"),
        ({"host": "192.168.1.4"}, "there is no key"),
        ({"host": "example.org"}, "there is no key"),
        ({"host": "::"}, "there is no key"),
    ],
)
def test_bad_values_are_one_clear_error(values, told):
    with pytest.raises(ConfigError) as caught:
        ServerSettings(**values)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_allowed(host):
    assert ServerSettings(host=host).host == host


def test_longest_name():
    assert "a" * 64 in ServerSettings(collections={"a" * 64: "x"}).collections


def test_a_misspelt_variable_is_refused(monkeypatch):
    monkeypatch.setenv("RETRIEVAL_SERVER_PROT", "1")
    with pytest.raises(ConfigError, match=r"RETRIEVAL_SERVER_PROT: there is no such setting; known: .*port"):
        ServerSettings()


def test_collections_that_are_not_json(monkeypatch):
    monkeypatch.setenv("RETRIEVAL_SERVER_COLLECTIONS", "a=/x")
    with pytest.raises(ConfigError, match=r"collections.*JSON"):
        ServerSettings()


@pytest.mark.parametrize(
    ("text", "told"),
    [("[server", "not a TOML file"), ("server = 3", "must be a table"), ("[server]\nprot = 1", "'prot'")],
)
def test_bad_files(tmp_path, text, told):
    (tmp_path / "retrieval.toml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        ServerSettings()


def test_a_named_file_must_exist(monkeypatch):
    monkeypatch.setenv("RETRIEVAL_CONFIG", "no-such.toml")
    with pytest.raises(ConfigError, match=r"no-such\.toml: there is no such file"):
        ServerSettings()


class TestCollectionPaths:
    def make(self, folder: Path, *names: str) -> Path:
        for name in names:
            (folder / name).mkdir(parents=True)
            (folder / name / "catalog.sqlite").touch()
        return folder

    def test_folders_with_a_catalog_and_named_ones(self, tmp_path):
        folder = self.make(tmp_path / "data", "b", "a")
        (folder / "no-index").mkdir()
        (folder / "file").touch()
        paths = ServerSettings(data_dir=folder, collections={"c": "elsewhere"}).collection_paths()
        assert paths == {"a": folder / "a", "b": folder / "b", "c": Path("elsewhere")}
        assert list(paths) == ["a", "b", "c"]

    def test_an_empty_data_dir_is_fine(self, tmp_path):
        assert ServerSettings(data_dir=tmp_path).collection_paths() == {}

    def test_nothing_to_serve(self):
        with pytest.raises(ConfigError, match="RETRIEVAL_SERVER_DATA_DIR"):
            ServerSettings().collection_paths()

    def test_no_such_folder(self):
        with pytest.raises(ConfigError, match="data_dir=gone: there is no such folder"):
            ServerSettings(data_dir="gone").collection_paths()

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match="file is no folder"):
            ServerSettings(data_dir=tmp_path / "file").collection_paths()

    def test_a_folder_that_cannot_be_a_name(self, tmp_path):
        with pytest.raises(ConfigError, match="'My Index' cannot be a collection's name"):
            ServerSettings(data_dir=self.make(tmp_path, "My Index")).collection_paths()

    def test_a_name_twice(self, tmp_path):
        folder = self.make(tmp_path, "a")
        with pytest.raises(ConfigError, match="'a' is in 'collections' and in data_dir"):
            ServerSettings(data_dir=folder, collections={"a": "x"}).collection_paths()


def test_encoders_for_unknown_collections_are_refused(tmp_path, encoders):
    from server.app import create_app

    with pytest.raises(ConfigError, match="encoders names 'dense'"):
        create_app(ServerSettings(data_dir=tmp_path), encoders={"dense": encoders["dense"]})


def run(code_or_arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run(
        [sys.executable, *code_or_arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_python_m_server_with_nothing_to_serve(tmp_path):
    done = run(["-m", "server"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is nothing to serve")
    assert "Traceback" not in done.stderr


def test_python_m_server_help_lists_the_settings(tmp_path):
    done = run(["-m", "server", "--help"], tmp_path)
    assert done.returncode == 0
    assert "search_threads" in done.stdout


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "structlog"])
def test_a_missing_package_says_what_to_type(tmp_path, package):
    code = (
        f"import sys; sys.modules['{package}'] = None; from server.__main__ import main; sys.exit(main([]))"
    )
    done = run(["-c", code], tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: the server needs the extra 'server': pip install 'retrieval-engine[server]'\n"
    )


def test_importing_the_application_module_does_nothing(tmp_path):
    code = (
        "import sys, threading; import server.app; "
        "print(threading.active_count(), 'torch' in sys.modules, 'sentence_transformers' in sys.modules)"
    )
    assert run(["-c", code], tmp_path).stdout.split() == ["1", "False", "False"]
