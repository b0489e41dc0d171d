from __future__ import annotations

import gc
from pathlib import Path

import pytest

from retrieval import EncoderConfig
from retrieval.errors import ConfigError
from server.collections.models import Models
from server.http.problems import ProblemError
from server.settings import ServerSettings
from tests.http.managing import managing
from tests.tiny_models import save_dense


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dense(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def models(folder: Path, tmp_path: Path) -> Models:
    listed = {
        "tiny": str(folder),
        "late": {"name": str(folder), "kind": "late", "projection": "none"},
        "elsewhere": "organisation/model",
        "gone": str(tmp_path / "gone"),
    }
    settings = ServerSettings(data_dir=tmp_path, models=listed)
    return Models(settings, settings.runtime())


def test_only_what_is_here_may_be_named(models):
    assert models.known() == ["tiny", "late"]
    for asked in ("elsewhere", "gone", "other", "", {"name": None}, {"name": "elsewhere"}, {"kind": "late"}):
        with pytest.raises(ProblemError) as caught:
            models.config(asked)
        assert (caught.value.status, caught.value.code) == (422, "unknown_model")
        assert "'tiny', 'late'" in caught.value.detail


def test_no_model_is_called_as_what_has_none(folder, tmp_path):
    with pytest.raises(ConfigError, match="'given' stands for vectors that documents bring"):
        ServerSettings(data_dir=tmp_path, models={"given": str(folder)})


def test_a_request_changes_settings_but_not_the_model(models, folder):
    config = models.config({"name": "tiny", "document_length": 5})
    assert (config.name, config.kind, config.document_length) == (str(folder), "dense", 5)
    with pytest.raises(ProblemError) as caught:
        models.config({"name": "tiny", "device": "cuda"})
    assert caught.value.errors[0]["pointer"] == "/encoder/device"


def test_a_model_is_loaded_once_and_one_with_other_settings_is_let_go(models, folder):
    listed = models.encoder(models.config("tiny"))
    assert models.encoder(EncoderConfig.of(name=str(folder))) is listed
    other = models.encoder(models.config({"name": "tiny", "document_length": 5}))
    assert other is not listed
    assert models.encoder(models.config({"name": "tiny", "document_length": 5})) is other
    assert len(models.all()) == 2
    del other
    gc.collect()
    assert models.all() == [listed]


def test_the_list(tmp_path, folder):
    with managing(tmp_path, models={"tiny": str(folder)}) as client:
        assert client.get("/v1/models").json() == {
            "object": "list",
            "data": [{"id": "tiny", "object": "model", "kind": "dense"}],
        }
        client.put("/v1/collections/notes", json={"encoder": "tiny"})
        assert client.get("/v1/models").json()["data"][0]["dim"] == 32
