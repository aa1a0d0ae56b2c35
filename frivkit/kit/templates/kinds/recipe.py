"""An experiment, as a TOML file of this package."""

from importlib.resources import files

RECIPE = files("frivkit_mine") / "recipe.toml"
