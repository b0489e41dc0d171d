"""What is known of an encoder without loading it."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval import EncoderConfig, load_encoder
from retrieval.encode import is_local, resolve_config
from retrieval.errors import EncoderError
from tests.tiny_models import pickle_weights, save_dense, save_late


@pytest.mark.parametrize("save", [save_dense, save_late])
def test_as_the_loaded_encoder_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save):
    folder = save(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    config = EncoderConfig.of(name="./model", document_length=9)
    resolved = resolve_config(config)
    assert resolved.name == str(folder.resolve())
    assert resolved == load_encoder(config).config == resolve_config(resolved)


def test_refused_as_when_it_is_loaded(tmp_path: Path):
    pickle_weights(save_dense(tmp_path / "model"))
    (tmp_path / "empty").mkdir()
    for name in ("model", "empty", "none"):
        with pytest.raises(EncoderError) as told:
            load_encoder(str(tmp_path / name))
        with pytest.raises(EncoderError) as also:
            resolve_config(EncoderConfig.of(name=str(tmp_path / name)))
        assert str(also.value) == str(told.value)


def test_what_is_here(tmp_path: Path):
    assert [
        is_local(name) for name in ("minilm", str(tmp_path), "organisation/model", str(tmp_path / "x"))
    ] == [
        True,
        True,
        False,
        False,
    ]
