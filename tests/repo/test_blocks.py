"""Blocks of the documentation are run as printed, on small files, or say why they are not.

Pages whose blocks have a test of their own are left to that.
"""

import shutil
from pathlib import Path

import pytest

from tests import pagefiles
from tests.pages import RUN, blocks_of, run_blocks, with_programs

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "docs/advise.md": "test_advise_page.py",
    "docs/finetune.md": "test_torch_pages.py",
    "docs/python.md": "test_python_page.py",
    "docs/reference/json.md": "../unit/report/test_document.py",
    "docs/to-torch.md": "test_torch_pages.py",
    "docs/writing-plugins.md": "test_docs.py",
}
"""Pages that are run elsewhere, and where."""
EVERY = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [
    page
    for page in EVERY
    if "docs/how-to" not in str(page) and str(page.relative_to(ROOT)) not in ELSEWHERE
    if any(language in RUN and not why for language, _, why in blocks_of(page))
]
SETTINGS = """
threads = 1
no-progress = true
[analyze]
examples = 40
[compress]
no-time = true
[visualize]
steps = 2
units = 1
[train]
option = ["epochs=1"]
"""
"""Options that the blocks do not give, so that they take a second."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder of small files by the names of the pages, and its cache."""
    folder = tmp_path_factory.mktemp("pages")
    pagefiles.write_page_files(folder)
    (folder / "frivkit.toml").write_text(SETTINGS)
    return folder


def prepare(page: Path, folder: Path) -> None:
    """Add to a folder what only one page has under these names."""
    if page.stem == "models":
        pagefiles.write_joined(folder)
    elif page.stem in ("data", "visualize"):
        pagefiles.write_coloured(folder)
    elif page.stem == "README" and page.parent == ROOT:
        pagefiles.write_slow(folder)
    elif page.stem == "torch":
        pagefiles.write_torch_files(folder)
    elif page.parent.name == "visualization":
        (folder / "docs").symlink_to(ROOT / "docs")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's older exporter
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run_as_printed(page, files, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "page"
    shutil.copytree(files, folder)
    prepare(page, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FRIVKIT_CACHE_DIR", str(files.parent / "cache"))
    with_programs(monkeypatch)
    if page.stem == "file-format":
        (entry, *_) = (files.parent / "cache").rglob("*.h5")
        shutil.copy(entry, "entry.h5")
    assert run_blocks(page, capfd) > 0


@pytest.mark.parametrize("page", EVERY, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is(page):
    languages = {language for language, *_ in blocks_of(page)}
    assert languages <= {*RUN, "text", "toml", "json", "bibtex"}


def test_pages_that_are_run_elsewhere_are():
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (Path(__file__).parent / test).read_text()
