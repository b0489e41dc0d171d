import json
import shutil

import pytest

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode import check_fingerprint, load_encoder
from retrieval.errors import EncoderMismatchError
from tests import tiny_models
from tests.unit.encode.conftest import DENSE, LATE


@pytest.mark.parametrize("name", [*DENSE, *LATE])
def test_it_is_json_and_survives_a_move(checkpoint, tmp_path, name):
    folder = checkpoint(name)
    shutil.copytree(folder, tmp_path / "moved")
    first, second = (
        load_encoder(str(folder)).fingerprint(),
        load_encoder(str(tmp_path / "moved")).fingerprint(),
    )
    assert json.dumps(first) == json.dumps(second)
    assert json.loads(json.dumps(first)) == first
    assert str(folder) not in json.dumps(first)


def test_machine_settings_do_not_count(checkpoint):
    folder = str(checkpoint("mean"))
    elsewhere = RuntimeConfig(device="cpu", dtype="bfloat16", token_budget=64)
    assert load_encoder(folder, elsewhere).fingerprint() == load_encoder(folder).fingerprint()


@pytest.mark.parametrize(
    ("name", "change", "key"),
    [
        ("mean", {"truncate_dim": 8}, "truncate_dim: index None, given 8"),
        ("mean", {"document_length": 9}, "document_length: index 64, given 9"),
        ("mean", {"query_prompt": "q: "}, "query_prompt: index '', given 'q: '"),
        ("prompts", {"document_prompt": ""}, "document_prompt: index 'the document: ', given ''"),
        ("pylate", {"query_length": 9}, "query_length: index 24, given 9"),
        ("native", {"document_length": 9}, "document_length: index 128, given 9"),
        ("head", {"kind": "late"}, "kind: index 'dense', given 'late'"),
        ("bare", {"kind": "late", "projection": "none"}, "kind: index 'dense', given 'late'"),
    ],
)
def test_a_changed_option_is_named(checkpoint, name, change, key):
    folder = str(checkpoint(name))
    built, given = load_encoder(folder), load_encoder(EncoderConfig(name=folder, **change))
    with pytest.raises(EncoderMismatchError) as caught:
        check_fingerprint(built.fingerprint(), given.fingerprint())
    assert key in str(caught.value)


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"seed": 5}, {"weights_sha256"}),
        ({"pooling": "cls"}, {"pooling"}),
        ({"normalize": False}, {"normalize"}),
        ({"similarity": "dot"}, {"metric"}),
        ({"head": 8}, {"dim", "weights_sha256"}),
    ],
)
def test_a_changed_dense_checkpoint_is_named(checkpoint, tmp_path, options, keys):
    built = load_encoder(str(checkpoint("mean"))).fingerprint()
    given = load_encoder(str(tiny_models.save_dense(tmp_path / "other", **options))).fingerprint()
    assert {key for key in built if built[key] != given[key]} == keys


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"skiplist": ["the"]}, {"skiplist"}),
        ({"expansion": {"strategy": "fixed", "length": 9}}, {"query_expansion", "query_length"}),
        ({"similarity": "meanmaxsim"}, {"metric"}),
        ({"pool_factor": 2}, {"pooling"}),
    ],
)
def test_a_changed_late_checkpoint_is_named(tmp_path, options, keys):
    built = load_encoder(str(tiny_models.save_late(tmp_path / "one"))).fingerprint()
    given = load_encoder(str(tiny_models.save_late(tmp_path / "two", **options))).fingerprint()
    assert {key for key in built if built[key] != given[key]} == keys


def test_another_vocabulary_is_named(checkpoint, tmp_path):
    shutil.copytree(checkpoint("mean"), tmp_path / "copy")
    vocabulary = tmp_path / "copy" / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace('"lowercase": true', '"lowercase": false'))
    built, given = (load_encoder(str(f)).fingerprint() for f in (checkpoint("mean"), tmp_path / "copy"))
    assert {key for key in built if built[key] != given[key]} == {"tokenizer_sha256"}


def test_the_caller_cannot_change_it(checkpoint):
    encoder = load_encoder(str(checkpoint("mean")))
    encoder.fingerprint()["dim"] = 0
    assert encoder.fingerprint()["dim"] == tiny_models.HIDDEN
