"""frivkit finds the plugin by its entry point, and can use what it offers."""

import tomllib
from pathlib import Path

from frivkit.testing.conformance import check_plugin

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))


def test_frivkit_finds_the_plugin():
    entry_points = PROJECT["project"]["entry-points"]["frivkit"]
    assert check_plugin(entry_points) == ("its_hook its-name",)
