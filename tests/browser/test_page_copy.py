"""What the page copies means the same elsewhere."""

from __future__ import annotations

import ast
import json
import subprocess
from typing import Any

import pytest

from retrieval.filters import parse_filter
from tests.browser import made_up
from tests.browser.stand_in import StandIn

HARD = 'it\'s "so" $HOME `id` \\ 50% !\nnew line 🛩️ \u007f'
HARD_FILTER = '{"it\'s": true, "n": 1.5, "t": ["a\'b", "\\\\ \\""]}'


def copied(page: Any, name: str) -> str:
    page.locator("option[value=late]").wait_for(state="attached")
    page.get_by_label("Query", exact=True).fill(HARD)
    page.get_by_label("Filter (JSON)").fill(HARD_FILTER)
    page.get_by_role("button", name=f"Copy as {name}").click()
    page.get_by_label("Copied text").wait_for()
    return page.get_by_label("Copied text").input_value()


SENT = {
    "query": HARD,
    "limit": 10,
    "filter": {"it's": True, "n": 1.5, "t": ["a'b", '\\ "']},
    "explain": ["tokens"],
}


def test_copy_as_curl_means_the_same_in_a_shell(page: Any, address: str) -> None:
    code = copied(page, "curl")
    script = f"""curl() {{ printf '%s\\0' "$@"; }}\nRETRIEVAL_API_KEY=secret\n{code}"""
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True)
    words = done.stdout.split("\0")[:-1]
    assert words[1] == f"{address}/v1/collections/papers/search"
    assert "Authorization: Bearer secret" in words
    assert "secret" not in code
    assert json.loads(words[words.index("--data-binary") + 1]) == SENT


def test_copy_as_python_asks_the_same(
    page: Any, stand_in: StandIn, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RETRIEVAL_API_KEY", raising=False)
    names: dict[str, Any] = {}
    exec(compile(copied(page, "Python"), "copied", "exec"), names)
    (asked,) = stand_in.searches
    assert (asked["query"], asked["limit"]) == (HARD, 10)
    assert parse_filter(asked["filter"]) == parse_filter(SENT["filter"])
    assert len(capsys.readouterr().out.splitlines()) == made_up.PER_PAGE
    assert [reason.id for reason in names["reasons"]] == [hit.id for hit in names["result"]]


@pytest.mark.parametrize(
    "value", [None, True, False, 0, -1.5, 1e21, "", "\u2028\x00\x7f'\"\\", [[], {}], {"a'": [None]}]
)
def test_values_as_python_writes_them(page: Any, value: Any) -> None:
    written = page.evaluate(
        'async (value) => (await import("/ui/snippets.js")).pythonOf(value)',
        value,
    )
    assert ast.literal_eval(written) == value
