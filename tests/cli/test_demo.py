"""The demonstration on a small library and tiny models: built once, used again, taken up again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from index_tools.demo.show import run_demo
from index_tools.output import Output
from retrieval import Engine
from retrieval.config import EncoderConfig, RuntimeConfig

QUESTION = "how do I compress a stream of bytes"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "lib"
    root.mkdir()
    for name in ("compress", "search", "vector"):
        text = f"Tools to {name} a stream of bytes, and other things that modules are made for."
        (root / f"{name}.py").write_text(f'"""{text}"""\n', encoding="utf-8")
    return root


@pytest.fixture
def encoders(tiny_model: Path) -> dict[str, EncoderConfig]:
    return {
        "stdlib-dense": EncoderConfig.of(name=str(tiny_model)),
        "stdlib-late": EncoderConfig.of(name=str(tiny_model), kind="late", projection="none"),
    }


def _demo(folder: Path, library: Path, encoders: dict[str, EncoderConfig], *, as_json: bool = False) -> None:
    output = Output(as_json=as_json)
    run_demo(folder, output, RuntimeConfig.of(), library=library, encoders=encoders, questions=[QUESTION])


def test_for_people(
    tmp_path: Path, library: Path, encoders: dict[str, EncoderConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    _demo(folder, library, encoders)
    done = capsys.readouterr()
    assert "3 docstrings" in done.err
    for words in (QUESTION, "stdlib-dense, ", "stdlib-late, ", "retrieval search", "retrieval serve", "/ui"):
        assert words in done.out
    late = done.out.partition("stdlib-late, ")[2]
    assert late.count("«") >= 1, "no matched words are marked"

    _demo(folder, library, encoders)
    again = capsys.readouterr()
    assert "is there already" in again.err
    assert again.err.count("complete from a former run") == 2


def test_for_programs(
    tmp_path: Path, library: Path, encoders: dict[str, EncoderConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    _demo(tmp_path / "demo", library, encoders, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert set(told["answers"]) == {"stdlib-dense", "stdlib-late"}
    hits = told["answers"]["stdlib-late"][QUESTION]
    assert len(hits) == 3
    assert hits[0]["metadata"]["kind"] == "module"
    assert all(hit["matched"] for hit in hits)


def test_an_interrupted_build_is_resumed(
    tmp_path: Path,
    library: Path,
    encoders: dict[str, EncoderConfig],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("index_tools.demo.show.SEGMENT_DOCUMENTS", 1)
    folder = tmp_path / "demo"
    real = Engine.build

    def interrupted(path: Path, corpus: object, *arguments: object, **named: object) -> object:
        def documents() -> object:
            for number, record in enumerate(corpus):  # type: ignore[var-annotated, arg-type]
                if number == 2:
                    raise KeyboardInterrupt
                yield record

        return real(path, documents(), *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _demo(folder, library, encoders)
    monkeypatch.setattr(Engine, "build", real)
    capsys.readouterr()
    _demo(folder, library, encoders)
    assert "stdlib-dense: 3 documents" in capsys.readouterr().err
    with Engine.open(folder / "stdlib-dense") as engine:
        assert len(engine) == 3
        assert engine.verify().ok
