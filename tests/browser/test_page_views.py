"""The views Compare, Index and Tasks, and what holds for all of them, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import made_up
from tests.browser.stand_in import StandIn

VIEWS = ["search", "compare", "index", "tasks"]


def compare(page: Any, query: str = "lift") -> None:
    page.locator("#view-compare option[value=dense]").wait_for(state="attached")
    page.get_by_label("Query", exact=True).fill(query)
    page.get_by_role("button", name="Compare", exact=True).click()
    page.locator("table.difference").wait_for()


def test_two_rankings_side_by_side(
    open_page: Callable, stand_in: StandIn, address: str, shot: Callable
) -> None:
    page = open_page(address, "/ui#/compare")
    compare(page)
    late = [document["id"] for document in made_up.DOCUMENTS][: made_up.PER_PAGE]
    dense = [document["id"] for document in made_up.DOCUMENTS[::-1]][: made_up.PER_PAGE]
    shown = [
        page.locator(".ranking").nth(side).locator("li").evaluate_all("all => all.map((li) => li.dataset.id)")
        for side in (0, 1)
    ]
    assert shown == [late, dense]
    assert (
        "overlap@5: 0.00 (0 of 5 documents are in both)" in page.locator("#view-compare .status").inner_text()
    )
    changes = page.locator("table.difference tbody td:last-child").all_inner_texts()
    assert changes == ["new in B"] * 5 + ["gone in B"] * 5
    assert [search["fields"] for search in stand_in.searches] == [["title"], ["title"]]
    shot(page, "compare")


def test_one_configuration_twice_agrees(open_page: Callable, stand_in: StandIn, address: str) -> None:
    page = open_page(address, "/ui#/compare")
    page.locator("#view-compare option[value=dense]").wait_for(state="attached")
    page.get_by_role("group", name="Configuration B").get_by_label("Collection", exact=True).select_option(
        "papers"
    )
    page.get_by_label("Query", exact=True).fill("lift")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.locator("table.difference").wait_for()
    assert "overlap@5: 1.00" in page.locator("#view-compare .status").inner_text()
    assert set(page.locator("table.difference tbody td:last-child").all_inner_texts()) == {"="}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("abc", "abc", {"a": "=", "b": "=", "c": "="}),
        ("abcd", "cab", {"c": "▲ up 2", "a": "▼ down 1", "b": "▼ down 1", "d": "gone in B"}),
        ("a", "ba", {"b": "new in B", "a": "▼ down 1"}),
        ("", "", {}),
    ],
)
def test_differences_of_rankings(page: Any, a: str, b: str, expected: dict[str, str]) -> None:
    told = page.evaluate(
        """async ([a, b]) => {
            const { compareRankings, changeText } = await import("/ui/ranking.js");
            const { rows, shared } = compareRankings(a, b);
            return [Object.fromEntries(rows.map((row) => [row.id, changeText(row)])), shared];
        }""",
        [list(a), list(b)],
    )
    assert told == [expected, len(set(a) & set(b))]
    assert list(told[0]) == list(expected)


def test_what_an_index_is_made_of(page: Any, shot: Callable) -> None:
    page.get_by_role("link", name="Index").click()
    page.get_by_text("papers: 12 documents, generation 7.").wait_for()
    sizes = page.get_by_role("region", name="Size on disk").get_by_role("row").all_inner_texts()
    assert sizes[0].split() == ["catalog", "96.0", "KiB"]
    assert len(sizes) == 4
    assert page.locator(".curve polyline").count() == 2
    assert page.locator(".curve circle").count() == len(made_up.CURVE["points"])
    assert page.locator(".curve text", has_text="k = 10").count() == 1
    assert "give the codes more bits" in page.get_by_role("region", name="Advice").inner_text()
    assert "current" in page.get_by_role("region", name="Aliases").inner_text()
    assert "14.200" in page.get_by_role("region", name="Geometry").inner_text()
    page.get_by_text("The curve as numbers").click()
    first = page.locator("figure tbody tr").first.locator("td").all_inner_texts()
    # (300 preparing + 2 * 1000 scanned + 1 refined * 40) nanoseconds
    assert first == ["1", "0.8000", "0.0100", "0.00234", "1", "1"]
    shot(page, "index")


def test_an_index_of_which_nothing_was_measured(page: Any) -> None:
    page.get_by_role("link", name="Index").click()
    page.get_by_label("Collection", exact=True).locator("visible=true").select_option("abstracts")
    page.get_by_text("abstracts: 12 documents").wait_for()
    assert "every search is exact" in page.get_by_role("region", name="Recall").inner_text()
    assert page.locator(".curve").count() == 0


def test_the_doctor_reports(page: Any, shot: Callable) -> None:
    page.get_by_role("link", name="Index").click()
    page.get_by_role("button", name="Run the doctor").click()
    report = page.locator(".report")
    report.wait_for()
    assert "Best: the preset tokens." in report.inner_text()
    rows = report.locator("tbody tr")
    assert rows.nth(0).inner_text().split("\t")[:3] == ["tokens (best)", "0.990 @10", "0.95"]
    assert "cannot be made: too few documents" in rows.nth(1).inner_text()
    assert page.get_by_role("button", name="Run the doctor").is_enabled()
    shot(page, "doctor")


def test_tasks_are_followed_as_they_go_on(page: Any, stand_in: StandIn, shot: Callable) -> None:
    page.get_by_role("link", name="Tasks").click()
    running = page.locator(".task[data-id=t1]")
    running.get_by_text("running · measure recall · 25 %").wait_for()
    assert float(running.locator("progress").get_attribute("value")) == 0.25
    failed = page.locator(".task[data-id=t2]")
    assert "a file is <bad>" in failed.inner_text()
    assert failed.get_by_role("button").count() == 0
    page.get_by_text("3 tasks, 1 unfinished.").wait_for()
    shot(page, "tasks")
    stand_in.tasks["t1"]["progress"]["fraction"] = 0.75
    running.get_by_text("75 %").wait_for()
    stand_in.tasks["t1"] |= {"state": "succeeded", "result": {"segments": 1}}
    running.get_by_text("succeeded").wait_for()
    page.get_by_text("3 tasks, 0 unfinished.").wait_for()
    assert stand_in.streams == ["t1"]


def test_a_task_is_cancelled(page: Any, stand_in: StandIn) -> None:
    page.get_by_role("link", name="Tasks").click()
    page.get_by_role("button", name="Cancel compact of papers").click()
    page.locator(".task[data-id=t1]").get_by_text("cancelled").wait_for()
    assert stand_in.tasks["t1"]["state"] == "cancelled"


def show(page: Any, view: str) -> None:
    """A view with something in it."""
    page.evaluate("view => { location.hash = `#/${view}`; }", view)
    page.locator(f"#view-{view}").wait_for()
    if view == "search":
        page.locator("#view-search option[value=late]").wait_for(state="attached")
        page.locator("#view-search").get_by_label("Query", exact=True).fill("lift wings")
        page.locator("#view-search").get_by_role("button", name="Search", exact=True).click()
        page.locator(".hit").first.wait_for()
        page.locator(".hit details summary").evaluate_all("all => all.forEach((each) => each.click())")
    elif view == "compare":
        page.locator("#view-compare").get_by_label("Query", exact=True).wait_for()
        page.locator("#view-compare option[value=dense]").wait_for(state="attached")
        page.locator("#view-compare").get_by_label("Query", exact=True).fill("lift")
        page.get_by_role("button", name="Compare", exact=True).click()
        page.locator("table.difference").wait_for()
    elif view == "index":
        page.get_by_role("button", name="Run the doctor").click()
        page.locator(".report").wait_for()
    else:
        page.locator(".task").first.wait_for()


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_scrolls_sideways_on_a_telephone(
    open_page: Callable, stand_in: StandIn, address: str, view: str, shot: Callable
) -> None:
    page = open_page(address, viewport={"width": 360, "height": 740}, reduced_motion="reduce")
    show(page, view)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    shot(page, f"narrow-{view}")


# The ratio of the luminances of a text and of all that lies behind it (WCAG 2), for every text in sight.
CONTRASTS = """
() => {
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", {
    willReadFrequently: true,
  });
  const painted = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
    if (!texts.length || !element.checkVisibility() || element.closest(":disabled, svg, option")) continue;
    const behind = [];
    for (let node = element; node; node = node.parentElement) {
      behind.unshift(getComputedStyle(node).backgroundColor);
    }
    const back = painted(behind);
    const ink = painted([...behind, getComputedStyle(element).color]);
    const [dark, light] = [luminance(back), luminance(ink)].sort((a, b) => a - b);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) low.push([element.className, texts[0].data.slice(0, 30), ratio.toFixed(2)]);
  }
  return low;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_texts_can_be_read_in_light_and_dark(
    open_page: Callable, stand_in: StandIn, address: str, view: str, scheme: str, shot: Callable
) -> None:
    page = open_page(address, color_scheme=scheme)
    show(page, view)
    assert page.evaluate(CONTRASTS) == []
    back = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (back == "rgb(255, 255, 255)") is (scheme == "light")
    if scheme == "dark":
        shot(page, f"dark-{view}")


def test_the_switch_of_the_theme_is_remembered(page: Any) -> None:
    page.get_by_label("Theme").select_option("dark")
    dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.reload()
    assert page.get_by_label("Theme").input_value() == "dark"
    assert (
        page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        == dark
        != "rgb(255, 255, 255)"
    )
    page.get_by_label("Theme").select_option("light")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"


def test_views_are_reached_and_announced(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    for name in ("Compare", "Index", "Tasks", "Search"):
        link = page.get_by_role("link", name=name, exact=True)
        link.focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=name, exact=True, level=2).wait_for()
        assert link.get_attribute("aria-current") == "page"
        assert page.evaluate("document.activeElement.textContent") == name
        assert page.title().startswith(name)


@pytest.mark.parametrize("view", VIEWS)
def test_everything_that_can_be_used_has_a_name(
    open_page: Callable, stand_in: StandIn, address: str, view: str
) -> None:
    page = open_page(address)
    show(page, view)
    nameless = page.evaluate(
        """() => {
            const used = "button, input, select, textarea, a, progress, summary, [tabindex='0']";
            const isNamed = (each) => each.getAttribute("aria-label") || (
                each.matches("input, select, textarea") ? each.labels.length : each.textContent.trim()
            );
            return [...document.querySelectorAll(used)]
                .filter((each) => each.checkVisibility() && !isNamed(each))
                .map((each) => each.outerHTML);
        }"""
    )
    assert nameless == []
    twice = page.evaluate(
        """() => { const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
            return ids.filter((id, i) => ids.indexOf(id) !== i); }"""
    )
    assert twice == []
