"""The view Search, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import made_up
from tests.browser.stand_in import PASSWORD, StandIn

QUERY = "lift wings"


def search(page: Any, query: str = QUERY) -> None:
    page.get_by_label("Query", exact=True).fill(query)
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("generation 7").wait_for()


def test_hits_with_their_times(page: Any, stand_in: StandIn, shot: Callable) -> None:
    search(page)
    assert page.locator(".hit").count() == made_up.PER_PAGE
    first = page.locator(".hit").first
    assert made_up.TITLE in first.locator("h3").inner_text()
    assert first.locator(".text").inner_text() == made_up.EMOJI_TEXT
    times = page.get_by_role("table", name="Milliseconds by stage")
    assert times.get_by_role("row", name="encode").inner_text().split() == ["encode", "6.25", "ms"]
    order = [text.split()[0] for text in times.get_by_role("row").all_inner_texts()]
    assert order == ["queue", "encode", "search", "filter", "candidates", "fetch", "total"]
    assert stand_in.searches == [{"query": QUERY, "limit": 10, "explain": ["tokens"]}]
    shot(page, "search-light")


def test_more_hits_come_behind(page: Any) -> None:
    search(page)
    page.get_by_role("button", name="More hits").click()
    page.locator(".hit").nth(9).wait_for()
    page.get_by_role("button", name="More hits").click()
    page.locator(".hit").nth(11).wait_for()
    ids = page.locator(".hit").evaluate_all("nodes => nodes.map((node) => node.dataset.id)")
    assert ids == [document["id"] for document in made_up.DOCUMENTS]
    assert page.locator(".hit").nth(11).inner_text().startswith("12. ")
    assert not page.get_by_role("button", name="More hits").is_visible()


def test_a_query_token_shows_what_it_matched(page: Any, shot: Callable) -> None:
    search(page)
    token = page.get_by_role("group", name="Query tokens").get_by_role("button", name="wings")
    token.click()
    assert token.get_attribute("aria-pressed") == "true"
    first = page.locator(".hit").first
    # The place counts code points; in UTF-16 it would lie further behind, after three emoji.
    assert first.locator("mark.chosen").all_inner_texts() == ["wings"]
    before = first.locator(".text").evaluate(
        """(text) => {
            const range = document.createRange();
            range.setStart(text, 0);
            range.setEndBefore(text.querySelector("mark.chosen"));
            return range.toString();
        }"""
    )
    assert before == made_up.EMOJI_TEXT[: made_up.EMOJI_TEXT.index("wings")]
    told = first.locator(".matched").inner_text()
    assert told.replace('"', "") == "wings matched wings: similarity 1.000, adds 1.000."
    shot(page, "search-token")
    token.click()
    assert page.locator("mark.chosen").count() == 0


def test_what_is_not_in_the_text_is_named_so(page: Any) -> None:
    search(page)
    tokens = page.get_by_role("group", name="Query tokens")
    tokens.get_by_role("button", name="[M] [not in text]").click()
    first = page.locator(".hit").first
    assert first.locator("mark.chosen").count() == 0
    assert "[M] [not in text]" in first.locator(".matched").inner_text()


def test_tokens_that_share_a_vector_are_all_marked(page: Any) -> None:
    search(page)
    page.get_by_role("group", name="Query tokens").get_by_role("button", name="lift").click()
    third = page.locator(".hit").nth(2)
    assert third.locator("mark.chosen").all_inner_texts() == ["lift", "drag"]
    assert "2 tokens share a vector" in third.locator(".matched").inner_text()


def test_contributions_add_up_to_the_score(page: Any) -> None:
    search(page)
    first = page.locator(".hit").first
    first.get_by_text("Contributions of 3 query tokens").click()
    cells = first.locator(".contributions tbody tr td:last-child").all_inner_texts()
    assert [float(cell) for cell in cells] == [1.0, 1.0, 1.0]
    assert float(first.locator(".contributions tfoot td").inner_text()) == 3.0
    assert "score 3.0000" in first.inner_text()


def test_the_heat_of_a_place_is_what_it_received(page: Any) -> None:
    search(page, "lift lift wings")
    marks = page.locator(".hit").first.locator(".text mark")
    heats = marks.evaluate_all(
        "nodes => nodes.map((n) => [n.textContent, n.style.getPropertyValue('--heat')])"
    )
    received = {text: float(heat) for text, heat in heats}
    # 'lift' was matched twice.
    assert received["lift"] == pytest.approx(2 * received["wings"], abs=0.002)
    heats = page.locator(".text mark").evaluate_all(
        "nodes => nodes.map((n) => n.style.getPropertyValue('--heat'))"
    )
    assert max(map(float, heats)) == 1


def test_what_looks_like_html_stays_text(page: Any) -> None:
    search(page)
    second = page.locator(".hit").nth(1)
    assert second.locator(".text").inner_text() == made_up.HOSTILE
    assert "<b>bold</b>" in second.locator("h3").inner_text()
    assert page.locator(".hit img, .hit script, .hit b").count() == 0
    assert page.evaluate("window.hacked") is None


def test_modes_are_those_of_the_collection(page: Any, stand_in: StandIn) -> None:
    mode = page.get_by_label("Mode", exact=True)
    page.locator("option[value=late]").wait_for(state="attached")
    assert mode.locator("option").all_inner_texts() == ["late", "hybrid"]
    page.get_by_label("Collection", exact=True).select_option("abstracts")
    page.locator("option[value=dense]").wait_for(state="attached")
    assert mode.locator("option").all_inner_texts() == ["dense", "hybrid"]
    assert page.get_by_label("Token heat map").is_disabled()
    mode.select_option("hybrid")
    page.get_by_label("Fusion").select_option("rrf")
    search(page)
    assert stand_in.searches[-1] == {
        "query": QUERY,
        "limit": 10,
        "mode": "hybrid",
        "hybrid": {"fuse": "rrf"},
    }


def test_a_collection_that_loads_cannot_be_chosen_and_an_alias_can(page: Any) -> None:
    picker = page.get_by_label("Collection", exact=True)
    picker.locator("option[value=slow]").wait_for(state="attached")
    assert picker.locator("option[value=slow]").is_disabled()
    assert picker.locator("option[value=slow]").inner_text() == "slow (loading)"
    picker.select_option("current")
    search(page)


def test_who_searches_before_the_collections_are_known_waits(
    page: Any, stand_in: StandIn, address: str
) -> None:
    held: list[Any] = []
    page.route("**/v1/collections", lambda route: held.append(route))
    page.reload()
    page.get_by_label("Query", exact=True).fill(QUERY)
    page.keyboard.press("Enter")
    assert stand_in.searches == []
    page.wait_for_function("document.querySelector('.status') !== null")
    held[0].continue_()
    page.get_by_text("generation 7").wait_for()


def test_without_a_collection_nothing_is_sent(page: Any, stand_in: StandIn) -> None:
    page.route(
        "**/v1/collections", lambda route: route.fulfill(json={"collections": [], "next_cursor": None})
    )
    page.reload()
    page.get_by_text("There is no collection yet").wait_for()
    page.get_by_label("Query", exact=True).fill(QUERY)
    page.keyboard.press("Enter")
    page.get_by_text("Choose a collection that is ready.").wait_for()
    assert stand_in.searches == []


def test_a_collection_can_be_chosen_once_it_is_loaded(page: Any, stand_in: StandIn) -> None:
    page.locator("option[value=slow]").first.wait_for(state="attached")
    stand_in.is_slow = False
    page.locator("option[value=slow]:not([disabled])").first.wait_for(state="attached")


def test_filter_and_parameters_are_sent(page: Any, stand_in: StandIn) -> None:
    page.get_by_role("button", name="year (int64)").click()
    page.get_by_role("button", name="open (bool)").click()
    page.get_by_label("Recall target").fill("0.9")
    page.get_by_label("Exact: score every document").check()
    page.get_by_label("Plan", exact=True).check()
    page.get_by_label("Hits", exact=True).fill("3")
    search(page)
    assert stand_in.searches[-1] == {
        "query": QUERY,
        "limit": 3,
        "filter": {"year": {"gte": 0}, "open": True},
        "params": {"recall_target": 0.9, "exact": True},
        "explain": ["plan", "tokens"],
    }
    plan = page.locator(".plan")
    assert "accepted" in plan.inner_text()
    assert plan.get_by_role("row").all_inner_texts() == ["id\tengine\tbm25", "d/1\t1\t2", "d2\t2\t–"]


@pytest.mark.parametrize("text", ['{"year": ', "[1]", "7", '{"year": 12345678901234567890}'])
def test_a_filter_is_checked_before_it_is_sent(page: Any, stand_in: StandIn, text: str) -> None:
    page.locator("option[value=late]").wait_for(state="attached")
    box = page.get_by_label("Filter (JSON)")
    box.fill(text)
    page.get_by_label("Query", exact=True).fill(QUERY)
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("textarea[aria-invalid=true]").wait_for()
    assert page.evaluate("document.activeElement.classList.contains('code')")
    assert stand_in.searches == []


@pytest.mark.parametrize(
    ("label", "value", "told"),
    [
        ("Hits", "5000", "at most 1000 hits (/limit)"),
        ("Filter (JSON)", '{"nowhere": 1}', "/nowhere: there is no field 'nowhere'"),
    ],
)
def test_a_problem_is_shown_at_its_field(
    open_page: Callable, stand_in: StandIn, address: str, label: str, value: str, told: str
) -> None:
    page = open_page(address, may_fail=True)
    page.locator("option[value=late]").wait_for(state="attached")
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    page.get_by_label("Query", exact=True).fill(QUERY)
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("alert").wait_for()
    assert "4f9c2d0e" in page.get_by_role("alert").inner_text()
    assert field.get_attribute("aria-invalid") == "true"
    described = field.get_attribute("aria-describedby").split()
    assert told in [
        page.locator(f"#{name}").inner_text() for name in described if page.locator(f"#{name}").count()
    ]


def test_nothing_found_and_partial_are_said(page: Any) -> None:
    search(page, "nothing")
    assert "Nothing was found" in page.locator("#view-search .status").inner_text()
    assert "Partial: damaged parts" in page.locator(".warning").inner_text()


def test_a_search_by_keyboard_alone(page: Any, stand_in: StandIn) -> None:
    page.locator("option[value=late]").wait_for(state="attached")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            break
    page.keyboard.type(QUERY)
    page.keyboard.press("Enter")
    page.get_by_text("generation 7").wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("wings"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    assert page.locator(".hit").first.locator("mark.chosen").all_inner_texts() == ["wings"]


def test_the_key_given_for_the_page_serves_its_calls(
    open_page: Callable, stand_in: StandIn, address: str
) -> None:
    stand_in.key = PASSWORD
    credentials = {"username": "me", "password": PASSWORD}
    page = open_page(address, http_credentials=credentials)
    search(page)
    page.get_by_role("link", name="Tasks").click()
    page.locator(".task").first.wait_for()
    assert "25 %" in page.locator(".task[data-id=t1]").inner_text()
    assert PASSWORD not in page.content()
