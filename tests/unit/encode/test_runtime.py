import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode import load_encoder
from retrieval.encode.runtime import SPINS, library_kwargs, pick_device, quiet_loading
from retrieval.errors import ConfigError, EncoderError, MissingExtraError
from tests.tiny_models import TEXTS


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["mean", "pylate"])
def test_half_precision_vectors_are_float32_of_length_1(checkpoint, name, dtype):
    exact = load_encoder(str(checkpoint(name))).encode_document(TEXTS)
    half = load_encoder(str(checkpoint(name)), RuntimeConfig(dtype=dtype)).encode_document(TEXTS)
    exact, half = (v if isinstance(v, np.ndarray) else v.values for v in (exact, half))

    assert half.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)
    assert not np.allclose(half, exact, atol=1e-6)
    assert (half * exact).sum(axis=1).min() > 0.98


def test_half_precision_keeps_the_lengths_of_unnormalized_vectors(checkpoint):
    folder = str(checkpoint("cls"))
    exact = load_encoder(folder).encode_document(TEXTS)
    half = load_encoder(folder, RuntimeConfig(dtype="bfloat16")).encode_document(TEXTS)
    norms = [np.linalg.norm(vectors, axis=1) for vectors in (exact, half)]
    assert norms[0].min() > 1.5
    np.testing.assert_allclose(norms[1], norms[0], rtol=0.05)


@pytest.mark.parametrize("name", ["mean", "pylate"])
def test_four_threads_get_the_same_vectors(checkpoint, name):
    encoder = load_encoder(str(checkpoint(name)), RuntimeConfig(token_budget=128))
    jobs = [(task, TEXTS[i:] + TEXTS[:i]) for i in range(len(TEXTS)) for task in ("query", "document")]

    def run(job):
        task, texts = job
        vectors = getattr(encoder, f"encode_{task}")(texts)
        return vectors if isinstance(vectors, np.ndarray) else vectors.values

    expected = [run(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        for ours, alone in zip(pool.map(run, jobs), expected, strict=True):
            np.testing.assert_allclose(ours, alone, atol=1e-5)


def test_one_batch_at_a_time_passes_the_model(checkpoint, monkeypatch):
    encoder = load_encoder(str(checkpoint("mean")), RuntimeConfig(token_budget=16))
    model, inside, most = encoder._model.model, [], []
    forward = model.forward

    def watched(*arguments, **options):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        try:
            return forward(*arguments, **options)
        finally:
            inside.pop()

    monkeypatch.setattr(model, "forward", watched)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(encoder.encode_document, [TEXTS] * 4))
    assert len(most) > len(TEXTS)
    assert max(most) == 1


def test_device_auto_finds_one_and_a_name_is_taken_as_it_is():
    import torch

    assert pick_device("cpu") == "cpu"
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert pick_device("auto") == "cpu"


def test_a_device_that_is_not_there_is_one_sentence(checkpoint):
    import torch

    with pytest.raises(ConfigError, match="device='no-such-device'"):
        RuntimeConfig.of(device="no-such-device")
    if not torch.cuda.is_available():
        with pytest.raises(EncoderError, match="device='cuda:7': this machine or this torch has no CUDA"):
            load_encoder(str(checkpoint("mean")), RuntimeConfig(device="cuda:7"))


def test_a_failure_while_encoding_is_one_sentence(checkpoint, monkeypatch):
    encoder = load_encoder(str(checkpoint("mean")))

    def fail(*_, **__):
        raise RuntimeError("out of memory\nat some line")

    monkeypatch.setattr(encoder._model.model, "forward", fail)
    with pytest.raises(EncoderError, match=r"^cannot encode: out of memory$"):
        encoder.encode_query(["a"])


def test_weights_come_from_safetensors_and_code_from_nowhere():
    options = library_kwargs(RuntimeConfig())
    assert options["model_kwargs"]["use_safetensors"] is True
    assert options["trust_remote_code"] is False
    assert options["local_files_only"] is True
    assert library_kwargs(RuntimeConfig(backend="onnx"))["model_kwargs"] == {}


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_missing_backend_says_what_to_install(checkpoint, monkeypatch, backend):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=rf"\[{backend}\]"):
        load_encoder(str(checkpoint("mean")), RuntimeConfig(backend=backend))


def test_an_exported_backend_has_its_own_arithmetic(checkpoint, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    with pytest.raises(EncoderError, match="dtype='bfloat16' needs the torch backend"):
        load_encoder(str(checkpoint("mean")), RuntimeConfig(backend="onnx", dtype="bfloat16"))


def test_loading_and_encoding_draw_no_bars(checkpoint, capfd):
    from transformers.utils.logging import is_progress_bar_enabled

    before = is_progress_bar_enabled()
    for config in (
        EncoderConfig(name=str(checkpoint("mean"))),
        EncoderConfig(name=str(checkpoint("mean")), kind="late", projection="none"),
        EncoderConfig(name=str(checkpoint("pylate"))),
    ):
        capfd.readouterr()
        load_encoder(config).encode_document(["wing"])
        out, err = capfd.readouterr()
        assert out == ""
        assert "%|" not in err
    assert is_progress_bar_enabled() == before


def test_bars_come_back_after_a_failed_load(caplog):
    from transformers.utils.logging import is_progress_bar_enabled

    caplog.set_level(logging.ERROR)
    before = is_progress_bar_enabled()
    with pytest.raises(ZeroDivisionError), quiet_loading():
        raise ZeroDivisionError
    assert is_progress_bar_enabled() == before


@pytest.mark.parametrize("said", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_idle_threads_of_a_model_spin_briefly_unless_the_environment_says_how_they_wait(checkpoint, said):
    load = "import os, sys; from retrieval.encode import load_encoder; load_encoder(sys.argv[1])"
    show = "print(os.environ.get('GOMP_SPINCOUNT'))"
    waits = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    environment = {name: value for name, value in os.environ.items() if name not in waits} | said
    command = [sys.executable, "-c", f"{load}; {show}", str(checkpoint("mean"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    expected = SPINS if not said else said.get("GOMP_SPINCOUNT", "None")
    assert done.stdout.splitlines()[-1] == expected
