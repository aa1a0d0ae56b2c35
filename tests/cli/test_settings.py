"""Options from variables and from a project file: which wins, what is refused, what is recorded."""

import json
import re
from pathlib import Path

import pytest

from frivkit.cli import COMMANDS, cli
from frivkit.cli.settings import COMMAND_LINE_ONLY, WRITES_FILES, _key, _options

ANALYZE = ("analyze", "net.onnx", "--data", "npz:x.npz", "--metric", "dead-units", "--json", "-")


@pytest.fixture
def settings(frivkit, files: Path, monkeypatch):
    """Return a function that analyses with a project file and variables, and gives the settings."""

    def run(file: str, *arguments: str, **variables: str) -> tuple[int, list[dict[str, str]]]:
        (files / "frivkit.toml").write_text(file)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        ran = frivkit(*ANALYZE, *arguments)
        assert ran.code == 0, ran.err
        provenance = json.loads(ran.out)["provenance"]
        return provenance["seed"], provenance["settings"]

    return run


ONE, ALL = "FRIVKIT_ANALYZE_SEED", "FRIVKIT_SEED"
CACHE = {"option": "--cache", "source": "FRIVKIT_CACHE_DIR"}


@pytest.mark.parametrize(
    ("places", "seed", "source"),
    [
        ({"--seed": "1", ONE: "2", ALL: "3", "[analyze]": "4", "": "5"}, 1, None),
        ({ONE: "2", ALL: "3", "[analyze]": "4", "": "5"}, 2, ONE),
        ({ALL: "3", "[analyze]": "4", "": "5"}, 3, ALL),
        ({"[analyze]": "4", "": "5"}, 4, "frivkit.toml"),
        ({"": "5"}, 5, "frivkit.toml"),
        ({}, 0, None),
    ],
)
def test_order_of_the_places(places, seed, source, settings):
    top = f"seed = {places['']}\n" if "" in places else ""
    table = f"[analyze]\nseed = {places['[analyze]']}\n" if "[analyze]" in places else ""
    arguments = ("--seed", places["--seed"]) if "--seed" in places else ()
    variables = {name: places[name] for name in (ONE, ALL) if name in places}
    found, recorded = settings(top + table, *arguments, **variables)
    assert found == seed
    recorded = [each for each in recorded if each["option"] != "--cache"]
    expected = {"option": "--seed", "value": str(seed), "source": source}
    assert recorded == ([expected] if source else [])


def test_types_of_values(settings):
    file = "quiet = true\nno-progress = true\n[analyze]\noption = ['a=1']\nexamples = 50\n"
    _, recorded = settings(file.replace("option = ['a=1']\n", ""), FRIVKIT_LAYER="layer lay*")
    values = {each["option"]: each["value"] for each in recorded}
    del values["--cache"]
    expected = {"--layer": "layer lay*", "--examples": "50"}
    assert values == {**expected, "--quiet": "true", "--no-progress": "true"}


def test_file_may_be_named(frivkit, files: Path, monkeypatch):
    (files / "other.toml").write_text("seed = 7")
    (files / "frivkit.toml").write_text("not TOML")
    for arguments in (("--config", "other.toml", *ANALYZE), (*ANALYZE, "--config", "other.toml")):
        ran = frivkit(*arguments)
        assert json.loads(ran.out)["provenance"]["seed"] == 7
    monkeypatch.setenv("FRIVKIT_CONFIG", "other.toml")
    assert json.loads(frivkit(*ANALYZE).out)["provenance"]["seed"] == 7


def test_cache_of_the_file_is_that_of_every_command(frivkit, files: Path, monkeypatch):
    monkeypatch.delenv("FRIVKIT_CACHE_DIR")
    (files / "frivkit.toml").write_text("cache = 'mine'")
    assert frivkit(*ANALYZE).code == 0
    listed = json.loads(frivkit("cache", "ls", "--json", "-").out)
    assert listed["directory"] == "mine"
    assert listed["entries"]


def test_help_needs_no_good_file(frivkit, files: Path):
    (files / "frivkit.toml").write_text("not TOML")
    ran = frivkit("analyze", "--help")
    assert ran.code == 0
    assert "--config FILE" in ran.out


@pytest.mark.parametrize(
    ("file", "variables", "words"),
    [
        ("sed = 1", {}, ["frivkit.toml", "no option", "did you mean seed?"]),
        ("[analyse]", {}, ["frivkit.toml", "no command", "did you mean analyze?"]),
        ("[analyze]\nmetrik = 1", {}, ["no option of analyze", "did you mean metric?"]),
        ("seed = ", {}, ["frivkit.toml", "no TOML"]),
        ("seed = true", {}, ["frivkit.toml", "seed is True", "a text or a number"]),
        ("seed = [1, 2]", {}, ["seed is a list"]),
        ("seed = 1979-05-27", {}, ["a text or a number"]),
        ("quiet = 1", {}, ["quiet is 1", "true or false"]),
        ("trust = true", {}, ["lets a model run code", "FRIVKIT_TRUST"]),
        ("report = '../page.html'", {}, ["decides what is written", "FRIVKIT_REPORT"]),
        ("seed = 'x'", {}, ["'x' is not a valid int", "--seed is from frivkit.toml"]),
        ("", {"FRIVKIT_SEED": "x"}, ["'x' is not a valid int", "--seed is from FRIVKIT_SEED"]),
        ("", {"FRIVKIT_MEMORY": "lots"}, ["lots", "--memory is from FRIVKIT_MEMORY"]),
        ("a = " + "[" * 9999, {}, ["nested too deeply"]),
        ("\udcff", {}, ["no TOML"]),
    ],
)
def test_error_names_the_source_in_one_line(file, variables, words, *, frivkit, files, monkeypatch):
    (files / "frivkit.toml").write_bytes(file.encode(errors="surrogateescape"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ran = frivkit(*ANALYZE)
    assert ran.code == 2
    assert not ran.out
    line = ran.error()
    assert all(word in line for word in words), line


def test_file_that_is_not_there_is_named(frivkit, files: Path):
    ran = frivkit(*ANALYZE, "--config", "missing.toml")
    assert ran.code == 2
    assert "missing.toml cannot be read" in ran.error()


def test_command_line_alone_names_no_source(frivkit, files: Path):
    assert " is from " not in frivkit(*ANALYZE, "--seed", "x").error()


def test_file_may_set_no_option_for_a_result():
    """Options that take a file to write: those named in the help as files, pages or pictures."""
    results = {
        _key(option)
        for name in COMMANDS
        for option in _options(cli.get_command(None, name))
        if re.match(r"(Write|Draw|File to write|Replace a file)\b", option.help or "")
    }
    assert {"json", "report", "output"} <= results
    assert results - {"int8"} <= {*WRITES_FILES, "verbose", "quiet"}


def test_no_two_options_have_one_variable():
    seen: dict[str, tuple[str, str]] = {}
    for name in COMMANDS:
        command = cli.get_command(None, name)
        for option in _options(command):
            assert _key(option) not in COMMAND_LINE_ONLY
            own = option.envvar[0]
            assert seen.setdefault(own, (name, _key(option))) == (name, _key(option))
    assert {"FRIVKIT_CACHE_LIMIT", "FRIVKIT_LOAD_PLUGINS"}.isdisjoint(seen)
