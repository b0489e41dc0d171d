from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from index_tools.main import main
from retrieval.errors import ConfigError
from server.security.access import Access, KeySettings, Principal, new_key
from server.security.keys import hash_of, read_keys
from server.settings import ServerSettings

READER, WRITER = new_key(), new_key()


class TestTables:
    def key(self, **more: object) -> dict:
        return {"sha256": READER[1], "scope": "read", **more}

    def test_the_hash_is_in_no_representation(self, tmp_path):
        settings = ServerSettings(keys={"ci": self.key()})
        assert settings.all_keys["ci"].sha256 == READER[1]
        for text in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.all_keys)):
            assert READER[1] not in text and "ci" in text

    @pytest.mark.parametrize(
        ("keys", "told"),
        [
            ({"ci": {"sha256": READER[0], "scope": "read"}}, "retrieval key --hash"),
            ({"ci": {"sha256": READER[1] + "0", "scope": "read"}}, "ci.sha256"),
            ({"ci": {"sha256": READER[1], "scope": "boss"}}, "ci.scope"),
            ({"ci": {"sha256": READER[1]}}, "ci.scope"),
            ({"ci": {"sha256": READER[1], "scope": "read", "collections": []}}, "ci.collections"),
            ({"ci": {"sha256": READER[1], "scope": "read", READER[0]: 1}}, "a member too many"),
            ({"ci": READER[0]}, "ci: "),
            (READER[0], "the table"),
            ({"a b": {"sha256": READER[1], "scope": "read"}}, "a name of a key"),
            ({READER[0]: {"sha256": READER[1], "scope": "read"}}, "looks like a key"),
            ({READER[0] + "x" * 40: {"sha256": READER[1], "scope": "read"}}, "a name of a key"),
            ({READER[1]: {"sha256": READER[1], "scope": "read"}}, "looks like a key"),
            (
                {
                    "a": {"sha256": READER[1], "scope": "read"},
                    "b": {"sha256": READER[1].upper(), "scope": "admin"},
                },
                "'a' and 'b' are the same key",
            ),
        ],
        ids=list("abcdefghijklm"),
    )
    def test_bad_keys_are_told_without_their_value(self, tmp_path, keys, told):
        path = tmp_path / "keys"
        path.write_text(json.dumps(keys))
        path.chmod(0o600)
        for values in ({"keys": keys}, {"keys_file": path}):
            if values.get("keys_file") and isinstance(keys, str):
                continue  # a file of one text is no table in TOML or JSON
            with pytest.raises(ConfigError, match="keys") as caught:
                ServerSettings(**values)
            assert told in str(caught.value)
            assert READER[0] not in str(caught.value)
            assert READER[1] not in str(caught.value)
            assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        "text",
        [
            f'[ci]\nsha256 = "{READER[1]}"\nscope = "write"\ncollections = ["a-*"]\n',
            f'"ci" = {{ sha256 = "{READER[1]}", scope = "write", collections = ["a-*"] }}',
            f'\n {{"ci": {{"sha256": "{READER[1]}", "scope": "write", "collections": ["a-*"]}}}}',
        ],
        ids=["table", "line", "json"],
    )
    def test_a_file_of_keys(self, tmp_path, text):
        path = tmp_path / "keys"
        path.write_text(text)
        path.chmod(0o600)
        settings = ServerSettings(host="0.0.0.0", keys_file=path)
        assert settings.all_keys == {"ci": KeySettings(sha256=READER[1], scope="write", collections=("a-*",))}
        path.unlink()
        assert settings.all_keys["ci"].scope == "write"  # read once, at the start

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (f"key = {READER[0]}", "neither a TOML nor a JSON file"),
            ('{"a": ', "neither a TOML nor a JSON file"),
            ('{"a": 1, "a": 2}', "there twice"),
            ("{" * 50, "neither a TOML"),
            ('{"a":' * 100_000, "keys_file"),
        ],
        ids=["a key", "cut", "twice", "braces", "deep"],
    )
    def test_files_that_cannot_be_read(self, tmp_path, text, told):
        path = tmp_path / "keys"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match=told) as caught:
            read_keys(path)
        assert READER[0] not in str(caught.value)

    def test_no_such_file_and_no_text(self, tmp_path):
        with pytest.raises(ConfigError, match=r"gone.*[Nn]o such file"):
            read_keys(tmp_path / "gone")
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ConfigError, match="UTF-8"):
            read_keys(tmp_path / "binary")

    def test_who_else_may_read_or_write_the_file(self, tmp_path):
        path = tmp_path / "keys"
        path.write_text(f'ci = {{ sha256 = "{READER[1]}", scope = "read" }}')
        for mode in (0o620, 0o602, 0o666):
            path.chmod(mode)
            with pytest.raises(ConfigError, match="chmod 600"):
                ServerSettings(keys_file=path)
        path.chmod(0o444)  # as containers mount secrets
        assert any("chmod 600" in told for told in ServerSettings(keys_file=path).cautions())
        path.chmod(0o400)
        assert ServerSettings(keys_file=path).cautions() == []

    def test_a_name_or_key_in_both_places(self, tmp_path):
        path = tmp_path / "keys"
        path.write_text(f'ci = {{ sha256 = "{WRITER[1]}", scope = "read" }}')
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="'ci' is there twice"):
            ServerSettings(keys={"ci": self.key()}, keys_file=path)
        with pytest.raises(ConfigError, match="same key"):
            ServerSettings(keys={"x": {"sha256": WRITER[1], "scope": "read"}}, keys_file=path)

    def test_keys_from_the_environment(self, monkeypatch):
        monkeypatch.setenv("RETRIEVAL_SERVER_KEYS", json.dumps({"ci": self.key()}))
        assert ServerSettings().all_keys["ci"].scope == "read"
        monkeypatch.setenv("RETRIEVAL_SERVER_KEYS", READER[0])
        with pytest.raises(ConfigError, match=r"keys.*JSON") as caught:
            ServerSettings()
        assert READER[0] not in str(caught.value)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
    def test_another_address_needs_a_key(self, host):
        with pytest.raises(ConfigError, match=r"there is no key.*retrieval key"):
            ServerSettings(host=host)
        settings = ServerSettings(host=host, keys={"ci": self.key()})
        assert settings.host_names == ("*",)
        assert any("unencrypted" in told for told in settings.cautions())

    def test_certificate_and_key_go_together(self, tmp_path):
        (tmp_path / "c.pem").touch()
        for values in ({"tls_certificate": "c.pem"}, {"tls_key": "c.pem"}):
            with pytest.raises(ConfigError, match="set both"):
                ServerSettings(**values)
        with pytest.raises(ConfigError, match=r"tls_key=gone\.pem: there is no such file"):
            ServerSettings(tls_certificate="c.pem", tls_key="gone.pem")
        settings = ServerSettings(
            tls_certificate="c.pem", tls_key="c.pem", host="::", keys={"ci": self.key()}
        )
        assert settings.cautions() == []

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ({"cors_origins": ["*"]}, "name each one"),
            ({"cors_origins": ["example.org"]}, "example.org"),
            ({"cors_origins": ["https://example.org/"]}, "https://example.org/"),
            ({"cors_origins": ["null"]}, "null"),
            ({"allowed_hosts": ["example.org:80"]}, "without a port"),
            ({"allowed_hosts": ["http://example.org"]}, "no host"),
            ({"allowed_hosts": ["::1"]}, "no host"),
            ({"models": {"x": {"name": "y", "code": "z"}}}, "there is no member 'code'"),
            ({"models": {"a b": "y"}}, "'a b' cannot be a name"),
            ({"max_json_depth": 7}, "max_json_depth=7"),
            ({"max_json_depth": 257}, "max_json_depth=257"),
            ({"drain_seconds": float("nan")}, "drain_seconds=nan"),
            ({"max_in_flight": 0}, "max_in_flight=0"),
            ({"timeout_ms": 0}, "timeout_ms=0"),
            ({"query_cache": -1}, "query_cache=-1"),
        ],
    )
    def test_bad_values_are_named(self, values, told):
        with pytest.raises(ConfigError) as caught:
            ServerSettings(**values)
        assert told in str(caught.value)
        assert next(iter(values)) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_models_are_encoder_configurations(self):
        models = ServerSettings(models={"own/x": "folder", "late": {"name": "y", "query_length": 48}}).models
        assert models["own/x"].name == "folder"
        assert models["late"].query_length == 48
        assert list(ServerSettings().models) == ["minilm", "minilm-late"]


class TestCommand:
    def test_a_new_key_and_its_line(self, capsys, tmp_path):
        assert (
            main(["key", "--name", "alice", "--scope", "write", "--collection", "a-*", "--collection", "b"])
            == 0
        )
        key, line = capsys.readouterr().out.splitlines()
        assert re.fullmatch(r"rk_[A-Za-z0-9_-]{43}", key)
        path = tmp_path / "keys"
        path.write_text(line)
        path.chmod(0o600)
        found = Access(read_keys(path)).authenticate(Headers({"api-key": key}))
        assert found == Principal("alice", "write", ("a-*", "b"))

    def test_as_json(self, capsys):
        assert main(["key", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["name"], told["scope"], told["collections"]) == ("client", "read", ["*"])
        assert told["sha256"] == hash_of(told["key"])

    def test_the_hash_of_a_given_key(self, capsys, monkeypatch):
        self.stdin(monkeypatch, READER[0] + "\n")
        assert main(["key", "--hash", "--json"]) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["sha256"] == READER[1]
        assert READER[0] not in shown.out + shown.err

    @pytest.mark.parametrize(
        "given", ["", "hunter2\n", "x" * 600, "with a space in it, long\n", "ключ-который-длинный\n"]
    )
    def test_keys_that_are_none(self, capsys, monkeypatch, given):
        self.stdin(monkeypatch, given)
        assert main(["key", "--hash"]) == 2
        shown = capsys.readouterr()
        assert "the key on stdin" in shown.err
        assert not given.strip() or given.strip() not in shown.err

    @pytest.mark.parametrize("arguments", [["--name", "a b"], ["--name", READER[0]], ["--scope", "boss"]])
    def test_bad_options(self, capsys, arguments):
        assert main(["key", *arguments]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ") and "rk_" not in shown.out

    def stdin(self, monkeypatch, text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_settings_alone_need_no_packages_of_the_server():
    code = (
        "import sys; sys.modules['fastapi'] = sys.modules['structlog'] = None; "
        "import server.settings, server.security.keys"
    )
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=60)
