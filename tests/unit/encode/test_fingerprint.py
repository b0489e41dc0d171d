import json
import shutil

import numpy as np
import pytest

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode import as_ragged, check_fingerprint, load_encoder
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
        ({"head": 8}, {"dim", "settings_sha256", "weights_sha256"}),
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


@pytest.mark.parametrize(
    ("save", "options", "keys"),
    [
        ("save_pylate", {"attends": True}, {"query_expansion"}),
        ("save_pylate", {"expands": False}, {"query_expansion"}),
        ("save_pylate", {"query_length": 20}, {"query_expansion", "query_length"}),
        ("save_pylate", {"dim": 48}, {"dim", "settings_sha256", "weights_sha256"}),
        ("save_pylate", {"seed": 1}, {"weights_sha256"}),
        ("save_pylate", {"hidden_act": "relu"}, {"settings_sha256"}),
        ("save_stanford", {"attends": True}, {"query_expansion"}),
        ("save_stanford", {"query_length": 12}, {"query_expansion", "query_length"}),
        ("save_stanford", {"masks_punctuation": False}, {"skiplist"}),
        ("save_stanford", {"dim": 48}, {"dim", "weights_sha256"}),
        ("save_stanford", {"layer_norm_eps": 0.1}, {"settings_sha256"}),
    ],
)
def test_a_changed_foreign_checkpoint_is_named(tmp_path, save, options, keys):
    one, two = (getattr(tiny_models, save)(tmp_path / n, **o) for n, o in (("one", {}), ("two", options)))
    built, given = load_encoder(str(one)), load_encoder(str(two))
    before, after = built.fingerprint(), given.fingerprint()
    assert {key for key in before if before[key] != after[key]} == keys


def changed(folder, file, change):
    """Change the values of a json file."""
    path = folder / file
    values = json.loads(path.read_text())
    change(values)
    tiny_models.write_json(path, values)


@pytest.mark.parametrize(
    ("name", "file", "change"),
    [
        ("head", "2_Dense/config.json", {"activation_function": "torch.nn.modules.linear.Identity"}),
        ("pylate", "1_Dense/config.json", {"activation_function": "torch.nn.modules.activation.ReLU"}),
        ("modernbert", "config.json", {"local_attention": 2}),
        ("pylate", "tokenizer_config.json", {"mask_token": "[unused0]"}),
    ],
)
def test_settings_that_change_vectors_are_named(checkpoint, tmp_path, name, file, change):
    shutil.copytree(checkpoint(name), tmp_path / "copy")
    changed(tmp_path / "copy", file, lambda values: values.update(change))
    built, given = load_encoder(str(checkpoint(name))), load_encoder(str(tmp_path / "copy"))
    texts = ["the wing of the search engine"]
    one, two = (as_ragged(e.encode_query(texts), e, len(texts)).values for e in (built, given))
    assert np.abs(one - two).max() > 1e-3
    before, after = built.fingerprint(), given.fingerprint()
    assert {key for key in before if before[key] != after[key]} == {"settings_sha256"}


def test_where_a_checkpoint_comes_from_is_not_named(checkpoint, tmp_path):
    shutil.copytree(checkpoint("stanford"), tmp_path / "copy")
    noise = {"transformers_version": "9.9", "_name_or_path": "elsewhere", "dtype": "bfloat16"}
    changed(tmp_path / "copy", "config.json", lambda values: values.update(noise))
    changed(tmp_path / "copy", "tokenizer_config.json", lambda values: values.update(name_or_path="x"))
    one, two = (load_encoder(str(f)).fingerprint() for f in (checkpoint("stanford"), tmp_path / "copy"))
    assert one == two


def test_an_index_older_than_the_settings_digest_takes_its_encoder(checkpoint):
    given = load_encoder(str(checkpoint("pylate"))).fingerprint()
    later = ("settings_sha256", "language")
    check_fingerprint({key: value for key, value in given.items() if key not in later}, given)
    with pytest.raises(EncoderMismatchError, match="settings_sha256"):
        check_fingerprint({**given, "settings_sha256": "0"}, given)


def test_the_caller_cannot_change_it(checkpoint):
    encoder = load_encoder(str(checkpoint("mean")))
    encoder.fingerprint()["dim"] = 0
    assert encoder.fingerprint()["dim"] == tiny_models.HIDDEN
