"""The built-in recipes of stacked perceptrons."""

from importlib.resources import files

_RECIPES = files("frivkit_sweep_mlp") / "recipes"

E1_MLP = _RECIPES / "e1-mlp.toml"
E7 = _RECIPES / "e7.toml"
E8 = _RECIPES / "e8.toml"
E9 = _RECIPES / "e9.toml"
FIG4D = _RECIPES / "fig4d.toml"
MLP10_OPTIMISERS = _RECIPES / "mlp10-optimisers.toml"
DATA_SIZES = _RECIPES / "data-sizes.toml"
