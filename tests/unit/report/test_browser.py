"""Pages in a browser: they sort, filter, lead to what they name, and nobody complains."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from frivkit.report.analysis_html import analysis_page
from tests import documents
from tests.browser import browser, opened

pytestmark = pytest.mark.assets


@pytest.fixture(scope="module")
def running() -> Iterator:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "hostile.html"
    path.write_text(analysis_page(documents.mapped()))
    return path


@pytest.fixture(scope="module")
def analysis(running, path):
    return opened(running, path, viewport={"width": 1280, "height": 800})


def names(page):
    """Return the layers in the table that are shown, from the top."""
    rows = page.locator("table.sortable tbody tr:visible th")
    return rows.all_inner_texts()


def test_nothing_is_complained_of_or_asked_for(analysis):
    analysis.page.locator("a.box").first.hover()
    assert analysis.complaints == []
    assert analysis.page.title().startswith("small.onnx")


def test_axe_finds_nothing_by_day_nor_by_night(running, path, analysis):
    assert analysis.violations() == []
    night = opened(running, path, color_scheme="dark")
    assert night.violations(["color-contrast"]) == []
    night.page.close()


def test_table_sorts_by_keyboard_and_says_so(analysis):
    page = analysis.page
    head = page.locator("table.sortable th", has_text="prunability")
    before = names(page)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    column = head.evaluate("head => head.cellIndex") + 1
    values = page.locator(f"table.sortable tbody tr :nth-child({column})").all()
    keys = [value.get_attribute("data-key") for value in values]
    known = [float(key) for key in keys if key is not None]
    assert known == sorted(known)
    assert keys[len(known) :] == [None]  # the undefined value is last
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("table.sortable [aria-sort]").count() == 1
    page.locator("table.sortable th button").first.click()
    assert names(page) == before


def test_table_filters_and_says_how_many_are_left(analysis):
    page = analysis.page
    everything = len(names(page))
    field = page.get_by_label("Filter the layers")
    field.fill("SCRIPT alert")
    assert names(page) == ["<script>alert(document.domain)</script>"]
    assert page.locator("output").inner_text() == f"1 of {everything} rows"
    field.fill("")
    assert len(names(page)) == everything
    assert page.locator("output").inner_text() == ""


def test_box_of_the_map_leads_to_its_row_even_if_that_is_filtered_out(analysis):
    page = analysis.page
    page.get_by_label("Filter the layers").fill("no such layer")
    assert names(page) == []
    box = page.locator("a.box").nth(3)
    box.focus()
    page.keyboard.press("Enter")
    target = box.get_attribute("href").removeprefix("#")
    row = page.locator(f"tr#{target}")
    row.wait_for(state="visible")
    assert row.evaluate("row => row.matches(':target')")
    assert len(names(page)) == len(documents.HOSTILE)


def test_layers_of_a_coupling_show_together(analysis):
    page = analysis.page
    page.locator('.box[data-coupling="c1"]').first.focus()
    assert page.locator(".box.coupled").count() == 2
    page.locator("h1").click()
    page.locator(".box.coupled").first.wait_for(state="detached")


def test_document_can_be_saved(analysis):
    with analysis.page.expect_download() as saved:
        analysis.page.locator("#save").click()
    assert saved.value.suggested_filename == "small.onnx.analysis.json"
    assert json.loads(Path(saved.value.path()).read_text()) == documents.mapped()


@pytest.mark.parametrize("width", [400, 1280])
def test_page_is_as_wide_as_the_window(analysis, width):
    analysis.page.set_viewport_size({"width": width, "height": 800})
    assert analysis.page.evaluate("document.documentElement.scrollWidth") == width
