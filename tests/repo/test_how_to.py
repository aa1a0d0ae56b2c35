"""Each how-to works as printed, from top to bottom, in an empty folder."""

from pathlib import Path

import pytest

from tests.pages import RUN, blocks_of, run_blocks, with_programs

PAGES = sorted((Path(__file__).parents[2] / "docs/how-to").glob("*.md"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's older exporter
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_works_as_printed(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with_programs(monkeypatch)
    assert {language for language, *_ in blocks_of(page)} <= {*RUN, "text"}
    assert run_blocks(page, capfd) > 0
