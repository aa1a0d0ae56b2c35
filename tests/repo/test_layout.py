"""The shape of the source tree: sizes, names, docstrings and who may import whom."""

import ast
import re
import tomllib
from pathlib import Path
from pkgutil import resolve_name
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*(ROOT / "frivkit").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
FOLDERS = sorted(
    path.parent.relative_to(ROOT / "frivkit").as_posix()
    for path in (ROOT / "frivkit").glob("*/**/__init__.py")
)
OWN_TESTS = {
    "cli": "tests/cli",
    "testing/laws": "tests/laws",
    "testing/conformance": "tests/laws",
}
"""Folders of ``frivkit/`` whose tests are not in ``tests/unit``."""
PLUGINS = {path.parent.name for path in (ROOT / "plugins").glob("*/plugin.py")}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize(("files", "most"), [(SHIPPED, 400), (TESTS, 600)], ids=["code", "tests"])
def test_no_module_is_too_long_to_read_in_one_sitting(files, most):
    assert {name(path): lines(path) for path in files if lines(path) > most} == {}


def test_most_modules_are_short():
    assert median(lines(path) for path in SHIPPED if path.name != "__init__.py") < 150


def test_no_module_is_a_drawer_for_everything():
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert [name(path) for path in (*SHIPPED, *TESTS) if path.stem in drawers] == []


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").glob("*/plugin.py")), ids=name)
def test_plugin_module_imports_hook_specs_only_and_holds_hooks_only(path):
    _, *body = ast.parse(path.read_text()).body
    for node in body:
        if isinstance(node, ast.ImportFrom):
            assert node.module == "frivkit.hooks.specs"
        else:
            assert isinstance(node, ast.FunctionDef), ast.unparse(node)
            assert [ast.unparse(each) for each in node.decorator_list] == ["hookimpl"]
    assert [node for node in body if isinstance(node, ast.FunctionDef)], "offers nothing"


def test_import_contracts_cover_every_plugin():
    (core,) = (each for each in LINTER["contracts"] if each["type"] == "forbidden")
    (mutual,) = (
        each
        for each in LINTER["contracts"]
        if each["type"] == "independence" and PLUGINS & set(each["modules"])
    )
    assert set(LINTER["root_packages"]) == {"frivkit", *PLUGINS}
    assert set(core["forbidden_modules"]) == PLUGINS
    assert set(mutual["modules"]) == PLUGINS


def test_every_folder_has_its_line_in_the_page_on_architecture():
    page = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| `frivkit/([\w/]+)/` \| (\S.*) \|$", page, re.MULTILINE)
    assert sorted(folder for folder, _ in rows) == FOLDERS


@pytest.mark.parametrize("container", ["frivkit", "frivkit.graph"])
def test_floors_are_those_of_the_contracts(container):
    (contract,) = (each for each in LINTER["contracts"] if each.get("containers") == [container])
    page = (ROOT / "docs/architecture.md").read_text()
    folder = container.replace(".", "/")
    (line,) = re.findall(rf"^  The floors of `{folder}/` from the top: (.*)$", page, re.MULTILINE)
    floors = [set(re.findall(r"`(\w+)`", floor)) for floor in line.split(";")]
    assert floors == [set(layer.split(" : ")) for layer in contract["layers"]]


def test_every_module_beside_the_folders_has_its_line_there_too():
    page = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+\.py)` \| \S.* \|$", page, re.MULTILINE)
    modules = {path.name for path in (ROOT / "frivkit").glob("*.py")}
    assert set(rows) == modules - {"__init__.py", "__main__.py"}


def test_every_folder_has_its_folder_of_tests():
    tests = {folder: OWN_TESTS.get(folder, f"tests/unit/{folder}") for folder in FOLDERS}
    empty = [each for each in tests.values() if not list((ROOT / each).rglob("test_*.py"))]
    assert empty == []


def test_every_folder_of_unit_tests_is_of_a_folder():
    tests = ROOT / "tests/unit"
    folders = {path.parent.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")}
    assert folders <= set(FOLDERS) | {"."}


def test_names_that_benchmarks_import_from_frivkit_exist():
    """Benchmarks need other tools and hours, so that nothing else would notice a rename."""
    imported = {
        f"{node.module}:{name.name}"
        for path in (ROOT / "benchmarks").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("frivkit")
        for name in node.names
    }
    assert len(imported) > 30
    for name in imported:
        assert resolve_name(name) is not None
