"""The rules of a plugin as a whole: its entry points and its offers."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint

from frivkit.errors import FrivkitError
from frivkit.hooks.registry import Registry
from frivkit.hooks.specs import GROUP
from frivkit.testing.conformance.rules import Rules


def check_plugin(entry_points: Mapping[str, str]) -> tuple[str, ...]:
    """Check that frivkit finds plugins by their entry points, and can use what they offer.

    - ``entry-point``: its name is that of the package, so that no two authors choose one name.
    - ``load``: the module can be imported, implements hooks that there are, and offers something.
    - ``targets``: each target can be imported, and has the shape that its hook requires.

    Args:
        entry_points: The table ``[project.entry-points.frivkit]`` of a project: modules by name.
            The plugin need not be installed, but it must be possible to import it.

    Returns:
        The hook and the name of each offer, such as ``"metrics class-share"``.

    Raises:
        LawError: a rule is broken.

    Example:
        >>> check_plugin({"frivkit_onnx": "frivkit_onnx.plugin"})
        ('model_providers onnx',)
    """
    rules = Rules("plugins", ", ".join(entry_points) or GROUP)
    rules.require(entry_points, "entry-point", "there is none in the group frivkit")
    for name, module in entry_points.items():
        rules.require(
            name == module.partition(".")[0],
            "entry-point",
            f"{name} is not the name of the package of {module}",
        )
    registry = Registry(EntryPoint(name, module, GROUP) for name, module in entry_points.items())
    found = []
    for plugin in registry.plugins:
        rules.require(plugin.error is None, "load", plugin.error)
        rules.require(plugin.offers, "load", f"{plugin.name} offers nothing")
        for hook, offers in plugin.offers.items():
            for offer in offers:
                try:
                    registry.load(hook, f"{plugin.name}:{offer.name}")
                except FrivkitError as error:
                    raise rules.broken("targets", error) from error
                found.append(f"{hook} {offer.name}")
    return tuple(found)
