import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode import hub, load_encoder
from retrieval.encode.checkpoint import Checkpoint
from retrieval.encode.weights import tokenizer_sha256, weights_sha256
from retrieval.errors import EncoderError, UntrainedProjectionError
from tests import tiny_models
from tests.tiny_models import TEXTS, write_json
from tests.unit.encode.conftest import DENSE, LATE


def retyped(folder: Path, copy: Path, model_type: str | None, architecture: str | None = None) -> Path:
    """A copy of a checkpoint that calls itself something else, or nothing (None)."""
    shutil.copytree(folder, copy)
    settings = copy / "config_sentence_transformers.json"
    if settings.exists():
        values = json.loads(settings.read_text())
        values["model_type"] = model_type
        write_json(settings, {key: value for key, value in values.items() if key != "model_type" or value})
    if architecture:
        config = json.loads((copy / "config.json").read_text())
        write_json(copy / "config.json", {**config, "architectures": [architecture]})
    return copy


@pytest.mark.parametrize("name", [*DENSE, *LATE])
def test_kind_is_read_from_the_files(checkpoint, name):
    assert Checkpoint.read(checkpoint(name)).kind == ("dense" if name in DENSE else "late")


@pytest.mark.parametrize(
    ("source", "model_type", "architecture", "kind"),
    [
        ("mean", None, None, "dense"),
        ("mean", "ColBERT", None, "late"),
        ("mean", None, "HF_ColBERT", "late"),
        ("bare", None, "ColPaliForRetrieval", "late"),
        ("mean", "SentenceTransformer", "ColPaliForRetrieval", "dense"),
    ],
)
def test_kind_of_less_common_files(checkpoint, tmp_path, source, model_type, architecture, kind):
    folder = retyped(checkpoint(source), tmp_path / "copy", model_type, architecture)
    assert Checkpoint.read(folder).kind == kind


def test_a_sparse_encoder_is_refused_by_name(checkpoint, tmp_path):
    folder = retyped(checkpoint("mean"), tmp_path / "copy", "SparseEncoder")
    with pytest.raises(EncoderError, match="SparseEncoder"):
        load_encoder(str(folder))
    assert load_encoder(EncoderConfig(name=str(folder), kind="dense")).dim == tiny_models.HIDDEN


@pytest.mark.parametrize(
    ("source", "model_type"),
    [
        *((name, "as saved") for name in ("mean", "head", "bare", "native", "pylate", "stanford")),
        ("mean", None),
        ("head", None),
        ("head", "SparseEncoder"),
    ],
)
def test_untrained_projections_are_found_where_the_library_makes_them(
    checkpoint, library, tmp_path, source, model_type
):
    import torch

    folder = checkpoint(source)
    if model_type != "as saved":
        folder = retyped(folder, tmp_path / "copy", model_type)
    vectors = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        vectors.append(library(folder, "late").encode_document(TEXTS[1], convert_to_numpy=True))
    is_reproducible = bool(np.allclose(vectors[0], vectors[1]))

    assert Checkpoint.read(folder).has_trained_projection == is_reproducible


@pytest.mark.parametrize("name", ["mean", "bare"])
def test_an_untrained_projection_is_refused(checkpoint, name):
    with pytest.raises(UntrainedProjectionError, match="projection='none'"):
        load_encoder(EncoderConfig(name=str(checkpoint(name)), kind="late"))


def test_pickled_weights_are_refused(checkpoint, tmp_path):
    for name, kind in (("mean", "dense"), ("stanford", "late")):
        folder = tmp_path / name
        shutil.copytree(checkpoint(name), folder)
        tiny_models.pickle_weights(folder)
        with pytest.raises(EncoderError, match=r"pytorch_model\.bin.*safetensors"):
            load_encoder(EncoderConfig(name=str(folder), kind=kind))


def test_pickled_weights_of_a_module_are_refused(checkpoint, tmp_path):
    for name, module in (("head", "2_Dense"), ("pylate", "1_Dense")):
        folder = tmp_path / name
        shutil.copytree(checkpoint(name), folder)
        tiny_models.pickle_weights(folder / module)
        with pytest.raises(EncoderError, match=f"{module}.*pytorch_model"):
            load_encoder(str(folder))


def test_a_pickle_beside_safetensors_is_left_alone(checkpoint, tmp_path):
    shutil.copytree(checkpoint("mean"), tmp_path / "copy")
    (tmp_path / "copy" / "pytorch_model.bin").write_bytes(b"not a pickle at all")
    assert load_encoder(str(tmp_path / "copy")).dim == tiny_models.HIDDEN


def test_an_adapter_without_its_model_is_refused(checkpoint, tmp_path):
    shutil.copytree(checkpoint("mean"), tmp_path / "copy")
    write_json(tmp_path / "copy" / "adapter_config.json", {"base_model_name_or_path": "some/model"})
    with pytest.raises(EncoderError, match="merge"):
        load_encoder(str(tmp_path / "copy"))


def test_an_empty_folder_is_not_a_checkpoint(tmp_path):
    with pytest.raises(EncoderError, match=r"no config\.json"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[1, 2]", '"word"'])
def test_broken_json_is_one_sentence(checkpoint, tmp_path, content):
    shutil.copytree(checkpoint("mean"), tmp_path / "copy")
    (tmp_path / "copy" / "modules.json").write_text(content)
    with pytest.raises(EncoderError, match="copy") as caught:
        load_encoder(str(tmp_path / "copy"))
    assert caught.value.__suppress_context__


def test_damaged_weights_are_one_sentence(checkpoint, tmp_path):
    shutil.copytree(checkpoint("mean"), tmp_path / "copy")
    (tmp_path / "copy" / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(EncoderError, match="cannot load encoder") as caught:
        load_encoder(str(tmp_path / "copy"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("./nowhere", "no folder"),
        ("/not/a/folder", "no folder"),
        ("nobody/nothing", "not in the hub's cache"),
        ("two words", "neither a folder nor a valid hub name"),
    ],
)
def test_a_missing_name_says_what_to_give(name, reason):
    with pytest.raises(EncoderError, match=reason) as caught:
        load_encoder(name)
    assert name in str(caught.value)
    assert "minilm-late" in str(caught.value)


@pytest.mark.parametrize(
    ("runtime", "extra"),
    [
        ({}, []),
        ({"backend": "onnx"}, ["*.onnx", "*.onnx_data"]),
        ({"trust_remote_code": True}, ["*.py"]),
    ],
)
def test_downloads_take_no_pickles_and_no_code(monkeypatch, tmp_path, runtime, extra):
    import huggingface_hub

    asked = {}

    def download(name, *, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    config = EncoderConfig(name="some/model", revision="v1")
    assert hub.resolve_folder(config, RuntimeConfig(**runtime), ()) == tmp_path
    assert (asked["name"], asked["revision"]) == ("some/model", "v1")
    assert asked["patterns"] == [*hub.PATTERNS, *extra]
    assert not {"*.bin", "*.pt", "*", "*.py"} & set(hub.PATTERNS)


def test_weights_digest_names_content_and_place(checkpoint, tmp_path):
    folder = checkpoint("head")
    shutil.copytree(folder, tmp_path / "copy")
    digest = weights_sha256(folder)
    assert weights_sha256(tmp_path / "copy") == digest
    assert tokenizer_sha256(tmp_path / "copy") == tokenizer_sha256(folder)

    (tmp_path / "copy" / "2_Dense" / "model.safetensors").rename(tmp_path / "copy" / "other.safetensors")
    assert weights_sha256(tmp_path / "copy") != digest


def test_weights_digest_falls_back_to_exported_files(tmp_path):
    with pytest.raises(EncoderError, match="no safetensors"):
        weights_sha256(tmp_path)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"graph")
    first = weights_sha256(tmp_path)
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"other")
    assert weights_sha256(tmp_path) != first


def test_reading_a_checkpoint_keeps_a_relative_path_loadable(checkpoint, monkeypatch):
    folder = checkpoint("mean")
    monkeypatch.chdir(folder.parent)
    encoder = load_encoder(f"./{folder.name}")
    assert encoder.config.name == str(folder.resolve())
    assert load_encoder(encoder.config).fingerprint() == encoder.fingerprint()


def test_a_null_type_keeps_nothing_but_the_backbone(checkpoint, tmp_path):
    shutil.copytree(checkpoint("head"), tmp_path / "copy")
    settings = tmp_path / "copy" / "config_sentence_transformers.json"
    write_json(settings, {**json.loads(settings.read_text()), "model_type": None})
    assert not Checkpoint.read(tmp_path / "copy").has_trained_projection
