"""Tests of the page of emotion_tf.check in a browser: nothing sticks out, and nothing serious keeps anyone from it."""

import pytest
from test_report_page import SERIOUS, STICKS_OUT, VIEWS, browser  # noqa: F401  (a fixture)

from emotion_tf import check

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(noise_records, tmp_path_factory):
    output = tmp_path_factory.mktemp("check")
    check.main(["--records", str(noise_records), "--output", str(output)])
    return (output / "check.html").as_uri()


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_page_fits_loads_nothing_and_can_be_used_by_everyone(browser, address, width, scheme):  # noqa: F811
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate(STICKS_OUT) == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    found = Axe().run(page).response["violations"]
    assert {one["id"]: one["nodes"][0]["html"] for one in found if one["impact"] in SERIOUS} == {}
    page.close()
