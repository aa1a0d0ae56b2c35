"""The kinds of plugins: one for each hook, each with a template in ``templates/``."""

from collections.abc import Mapping
from dataclasses import dataclass

_COMPRESS = "frivkit compress model.onnx -o smaller.onnx --macs 0.5 --data digits"
_TRAIN = "--data digits --option epochs=5 -o model.onnx"


@dataclass(frozen=True, slots=True)
class PluginKind:
    """What a project offers.

    Attributes:
        hook: The hook that it implements.
        target: The name of the offered object in the module of the kind.
        summary: What the template does, without a full stop.
        requires: The packages that the template imports beside frivkit.
        use: A command line that uses the offer, in which ``its-name`` stands for its name.
    """

    hook: str
    target: str
    summary: str
    requires: tuple[str, ...]
    use: str


KINDS: Mapping[str, PluginKind] = {
    "provider": PluginKind(
        "model_providers",
        "load",
        "ONNX files that were compressed with gzip",
        ("onnx", "onnx-ir"),
        "frivkit inspect model.its-name",
    ),
    "operator": PluginKind(
        "operator_rules",
        "OPERATORS",
        "units in sums along an axis",
        ("onnx-ir",),
        "frivkit inspect model.onnx",
    ),
    "source": PluginKind(
        "data_sources",
        "halves",
        "a hundred examples of halves",
        ("numpy",),
        "frivkit analyze model.onnx --data its-name",
    ),
    "selector": PluginKind(
        "unit_selectors",
        "PAIRS",
        "neighbouring channels in pairs",
        ("numpy",),
        "frivkit analyze model.onnx --units its-name",
    ),
    "metric": PluginKind(
        "metrics",
        "METRIC",
        "how often one class is the label",
        (),
        "frivkit analyze model.onnx --metric its-name --option label=1",
    ),
    "task": PluginKind(
        "tasks",
        "BEST_THREE",
        "the three best classes in any order",
        ("numpy",),
        "frivkit verify model.onnx smaller.onnx --task its-name",
    ),
    "basis": PluginKind(
        "bases",
        "last_units",
        "units removed from the last to the first",
        ("numpy",),
        f"{_COMPRESS} --basis its-name",
    ),
    "ranking": PluginKind(
        "rankings",
        "apoz",
        "units that are zero most often are removed first",
        ("numpy",),
        f"{_COMPRESS} --ranking its-name",
    ),
    "refit": PluginKind(
        "refits",
        "MEANS",
        "means of removed units added to biases",
        (),
        f"{_COMPRESS} --refit its-name",
    ),
    "architecture": PluginKind(
        "architectures",
        "SMALL",
        "a network of one hidden layer",
        ("torch",),
        f"frivkit train its-name {_TRAIN}",
    ),
    "trainer": PluginKind(
        "trainers",
        "NONE",
        "training for no epochs",
        ("torch",),
        "frivkit train mlp --trainer its-name --data digits -o model.onnx",
    ),
    "planner": PluginKind(
        "planners",
        "plan",
        "a sweep that throws dice",
        ("numpy",),
        'frivkit sweep recipe.toml -o results    # recipe.toml has: planner = "its-name"',
    ),
    "recipe": PluginKind(
        "recipes",
        "RECIPE",
        "small networks on digits at several widths",
        (),
        "frivkit sweep its-name --scale smoke -o results",
    ),
    "figure": PluginKind(
        "figures",
        "BARS",
        "a bar for the gain of each series",
        (),
        "frivkit figure its-name results -o bars.svg",
    ),
    "engine": PluginKind(
        "engines",
        "threads",
        "tasks in threads of this process",
        (),
        "frivkit analyze model.onnx --engine its-name:2",
    ),
    "command": PluginKind(
        "cli_commands",
        "command",
        "print the name of a model file",
        ("click",),
        "frivkit its-name model.onnx",
    ),
}
"""The kinds by name, in the order of the hooks."""
