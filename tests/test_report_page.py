"""Tests of a report in a browser: nothing sticks out, and an accessibility check finds nothing serious."""

import pytest

from emotion_tf import report

pytestmark = pytest.mark.slow

VIEWS = [(width, scheme) for width in (400, 1600) for scheme in ("light", "dark")]

SERIOUS = ("serious", "critical")

STICKS_OUT = """() => [...document.querySelectorAll("body *")]
  .filter(one => one.tagName === "svg" || !one.closest("svg"))
  .filter(one => !one.parentElement.closest(".scrolls"))
  .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(one => one.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def browser(chromium):
    browser = chromium()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def address(audio_run, text_run, early_run, tmp_path_factory):
    output = tmp_path_factory.mktemp("report")
    report.write([run.folder for run in (audio_run, text_run, early_run)], output)
    return (output / "report.html").as_uri()


@pytest.fixture(params=VIEWS, ids=lambda view: f"{view[0]}-{view[1]}")
def page(request, browser, address):
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    yield page
    page.close()


def test_nothing_sticks_out_and_nothing_is_loaded(page):
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate(STICKS_OUT) == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []


def test_an_accessibility_check_finds_nothing_serious(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    assert {one["id"]: one["nodes"][0]["html"] for one in found if one["impact"] in SERIOUS} == {}


def test_the_slider_shows_the_confusion_matrix_of_an_epoch(page):
    figure = page.locator(".epochs:has(input)").first
    data = page.evaluate("JSON.parse(document.querySelector('.epochs script').textContent)")
    for epoch in (0, 1):
        figure.locator("input").evaluate(
            "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')) }", epoch
        )
        assert data["titles"][epoch] in figure.locator("figcaption").inner_text()
        cells = figure.locator("tbody td").all_inner_texts()
        assert [int(cell) for cell in cells] == [count for row in data["counts"][epoch] for count in row]


def test_text_of_a_picture_can_be_selected(page):
    selected = """() => {
      const text = [...document.querySelectorAll("svg text")].find(one => one.textContent.trim() === "epoch");
      getSelection().selectAllChildren(text);
      return getSelection().toString().trim();
    }"""
    assert page.evaluate(selected) == "epoch"
