"""Late interaction from a shell: pooling, recipes for tokens, how hard to look, and what cannot work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from index_tools.options import Preset
from retrieval import PRESETS
from tests.cli.conftest import DOCUMENTS, Run, write_jsonl
from tests.cli.test_recipes import WORDS
from tests.tiny_backbones import LANGUAGES
from tests.tiny_models import save_stanford

LATE = ("--kind", "late", "--projection", "none")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {"_id": f"d{i}", "text": " ".join(WORDS[(i * step + shift) % 16] for step, shift in ((1, 0), (3, i)))}
        for i in range(150)
    ]
    return write_jsonl(tmp_path_factory.mktemp("many") / "corpus.jsonl", rows)


@pytest.fixture
def tokens(run: Run, many: Path, tiny_model: Path, tmp_path: Path) -> Path:
    """An index of tokens with codes."""
    recipe = ("--preset", "tokens", "--set", "codec=bits", "--set", "bits=2", "--set", "ncentroids=16")
    path = tmp_path / "tokens"
    done = run("build", many, path, "--encoder", tiny_model, *LATE, *recipe, "--force", "--json")
    assert done.exit_code == 0, done.err
    return path


@pytest.mark.parametrize("spec", ["ward:2", "fixed:4", "words"])
def test_a_pooled_index(
    run: Run, corpus: Path, late_index: Path, tiny_model: Path, tmp_path: Path, spec: str
) -> None:
    path = tmp_path / "i"
    built = run("build", corpus, path, "--encoder", tiny_model, *LATE, "--pooling", spec, "--json").json
    plain, facts = (run("inspect", each, "--json").json for each in (late_index, path))
    assert (plain["pooling"], facts["pooling"]) == ("none", spec)
    assert built["tokens"] == facts["tokens"] < plain["tokens"]
    assert ["pooling", spec] in [line.split() for line in run("inspect", path).out.splitlines()]
    assert "pooling" not in run("inspect", late_index).out
    more = write_jsonl(tmp_path / "more.jsonl", [{**DOCUMENTS[0], "_id": "again"}])
    assert run("add", path, more).exit_code == 0
    hits = run("search", path, "compress bytes", "--json").json["hits"]
    scores = {hit["id"]: hit["score"] for hit in hits}
    assert scores["again"] == scores["d1"]
    why = run("explain", path, "d1", "compress bytes", "--json").json
    assert why["scored_from"] == "stored"
    assert why["score"] == pytest.approx(scores["d1"], rel=1e-5)
    for match in why["matches"]:
        named = match["document_token"]
        if named["start"] is not None:
            assert why["text"][named["start"] : named["end"]] == named["text"]
        for token in match["document_tokens"]:
            assert token["text"] in named["text"]
    assert run("explain", path, "d1", "compress bytes").exit_code == 0


def test_pooling_is_for_good(run: Run, corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "i"
    arguments = ("build", corpus, path, "--encoder", tiny_model, *LATE)
    assert run(*arguments, "--pooling", "ward:2").exit_code == 0
    changed = run("compact", path, "--set", "pooling=ward:3")
    assert changed.exit_code == 2 and "decided when the index is made (build --pooling)" in changed.err
    resumed = run(*arguments, "--resume")
    assert resumed.exit_code == 2
    assert "pooling='none', but the build began with 'ward:2'" in resumed.err
    assert run("compact", path).exit_code == 0
    assert run("inspect", path, "--json").json["pooling"] == "ward:2"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--pooling", "ward:2"], "this encoder is dense"),
        ([*LATE, "--pooling", "ward"], "token pooling is 'ward'; write none, ward:2"),
        ([*LATE, "--pooling", "ward:99"], "token pooling is 'ward:99'"),
        (["--preset", "tokens"], "choose from the presets exact, fast, "),
        (["--preset", "muvera"], "reduce=muvera:10240 is for one vector a token"),
        ([*LATE, "--preset", "fast"], "choose from the presets exact, tokens, "),
        ([*LATE, "--preset", "graph"], "index=vamana is for one vector a document"),
        (["--language", "en_XX"], "has none: leave it out"),
        ([*LATE, "--language", "en_XX"], "has none: leave it out"),
    ],
)
def test_what_does_not_fit_the_encoder_is_one_line(
    run: Run, corpus: Path, tiny_model: Path, tmp_path: Path, options: list[str], told: str
) -> None:
    done = run("build", corpus, tmp_path / "i", "--encoder", tiny_model, *options)
    assert done.exit_code == (6 if "--language" in options else 2) and told in done.err
    assert done.err.count("\n") == 1 and "Traceback" not in done.err
    assert not (tmp_path / "i").exists()


def test_a_language_is_kept(run: Run, corpus: Path, tmp_path: Path) -> None:
    model = save_stanford(tmp_path / "xmod", family="xmod")
    path = tmp_path / "i"
    built = run("build", corpus, path, "--encoder", model, "--language", LANGUAGES[1])
    assert built.exit_code == 0, built.err
    assert run("inspect", path, "--json").json["fingerprint"]["language"] == LANGUAGES[1]
    assert run("search", path, "bytes", "--json").json["hits"]


def test_inspect_tells_of_tokens(run: Run, tokens: Path) -> None:
    shown = run("inspect", tokens).out
    facts = run("inspect", tokens, "--json").json
    assert "tokens 2-bit codes of residuals, 16 centroids, recall target 0.95" in shown
    assert "  recall@10  " in shown and "nprobe=" in shown and "num_scored=" in shown
    assert "geometry" in shown and f"of {facts['dim']}" in shown
    stored = facts["bytes"]["codes"] / facts["tokens"]
    assert stored == 2 * facts["dim"]  # float16
    arranged = facts["bytes"]["arranged"] / facts["tokens"]
    assert f"{stored:.1f} bytes stored, {arranged:.1f} bytes for the search" in shown


def test_how_hard_to_look(run: Run, tokens: Path) -> None:
    def plan(*options: str) -> Any:
        return run("search", tokens, "river lamp", "--plan", *options, "--json").json["plan"]

    asked = plan("--set", "nprobe=3", "--set", "num_scored=40", "--set", "num_candidates=20")
    assert (asked["nprobe"], asked["num_scored"], asked["num_candidates"]) == (3, 40, 20)
    assert asked["segments"] == {"probe": 1}
    least = json.loads(run("inspect", tokens, "--json").out)["quality"]["curve"]["points"]
    cheap = min((point for point in least if point["k"] == 10), key=lambda point: point["nprobe"])
    hurried = plan("--budget-ms", "0.000001")
    if hurried["segments"] == {"probe": 1}:
        assert hurried["nprobe"] == cheap["nprobe"]
    assert plan("--budget-ms", "100000", "--exact")["segments"] == {"exact": 1}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--set", "nprobe"],
            "write NAME=VALUE, with NAME one of num_candidates, nprobe, num_scored, ef_search",
        ),
        (["--set", "probe=3"], "with NAME one of"),
        (["--set", "exact=true"], "with NAME one of"),
        (["--set", "nprobe=many"], "nprobe='many'"),
        (["--set", "nprobe=0"], "nprobe="),
        (["--budget-ms", "0"], "budget_ms=0"),
    ],
)
def test_no_such_effort(run: Run, late_index: Path, options: list[str], told: str) -> None:
    done = run("search", late_index, "bytes", *options)
    assert done.exit_code == 2 and told in done.err and done.err.count("\n") == 1


def test_codes_alone_are_marked(run: Run, tokens: Path) -> None:
    assert "lossy codes" not in run("explain", tokens, "d1", "river lamp").out
    done = run("compact", tokens, "--precision", "residual", "--force")
    assert done.exit_code == 0, done.err
    assert "scored from lossy codes" in run("explain", tokens, "d1", "river lamp").out
    assert run("explain", tokens, "d1", "river lamp", "--json").json["scored_from"] == "codes"


def test_every_preset_is_named_in_the_help() -> None:
    told = Preset.__metadata__[0].help
    assert [name for name in PRESETS if name not in told] == []


def test_eval_pools_and_uses_no_other_index(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny-beir"
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", DOCUMENTS)
    write_jsonl(folder / "queries.jsonl", [{"_id": "q", "text": DOCUMENTS[0]["text"]}])
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\n")
    asked = ("eval", folder, "--encoder", tiny_model, *LATE, "--index", tmp_path / "i")
    done = run(*asked, "--pooling", "fixed:2", "--json")
    assert done.exit_code == 0, done.err
    assert (done.json["index"]["pooling"], done.json["index"]["tokens"]) == ("fixed:2", 2 * len(DOCUMENTS))
    other = run(*asked)
    assert other.exit_code == 2 and "has pooling fixed:2, not none" in other.err
