"""What a shell completes: names of plugins' offers, beginnings of data specs, layers of the model.

A completion is a service: whatever goes wrong while it looks, it offers nothing.
"""

import io
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

MOST_BYTES = 256 * 2**20
"""Size of a file above which its layers are not completed, since reading it takes too long."""


def offers(hook: str) -> Completer:
    """Return what completes the names that plugins offer for a hook."""

    def complete(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
        return _quietly(lambda: _offered(hook, begun))

    return complete


def complete_recipes(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return recipes of plugins, and the files that a shell finds."""
    names = _quietly(lambda: _offered("recipes", begun))
    return names or [CompletionItem(begun, type="file")]


def complete_data(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the data sources that a spec may begin with, and the files that a shell finds."""
    names = _quietly(lambda: _offered("data_sources", begun))
    return names or [CompletionItem(begun, type="file")]


def complete_layers(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the layers of the model that stands on the command line."""
    return _quietly(lambda: _layers(context, begun))


def complete_joins(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the concats of the model that can be one layer each."""
    return _quietly(lambda: _layers(context, begun, joined=True))


def complete_ratios(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the layers of the model, each with the sign that its share follows."""

    def found() -> list[CompletionItem]:
        layers = _layers(context, begun)
        return [CompletionItem(f"{layer.value}=", help=layer.help) for layer in layers]

    return _quietly(found)


def complete_targets(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the machines that have names."""

    def found() -> list[CompletionItem]:
        from frivkit.latency.target import TARGETS

        names = [target.name for target in TARGETS]
        return [CompletionItem(name) for name in names if name.startswith(begun)]

    return _quietly(found)


def options_of(*sources: tuple[str, str | tuple[str, ...]]) -> Completer:
    """Return what completes ``key=value`` for the offers that the command line names.

    Args:
        sources: Hooks, with the names of offers or the parameter that names them; if it names none,
            the options of all offers of the hook are completed.
    """

    def complete(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
        return _quietly(lambda: _pairs(context, sources, begun))

    return complete


def complete_plugins(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the names of plugins and of all that they offer."""

    def found() -> list[CompletionItem]:
        from frivkit.hooks.registry import HOOKS, installed

        items = [CompletionItem(p.name) for p in installed().plugins if p.name.startswith(begun)]
        named = {item.value: item for hook in HOOKS for item in _offered(hook, begun)}
        return [*items, *named.values()]

    return _quietly(found)


def _offered(hook: str, begun: str) -> list[CompletionItem]:
    from frivkit.hooks.registry import installed

    found = installed().offers(hook).items()
    return [CompletionItem(n, help=offer.summary) for n, offer in found if n.startswith(begun)]


def _pairs(
    context: click.Context, sources: tuple[tuple[str, str | tuple[str, ...]], ...], begun: str
) -> list[CompletionItem]:
    from frivkit.hooks.option_table import option_rows
    from frivkit.hooks.registry import installed

    found: dict[str, str] = {}
    for hook, source in sources:
        named = _given(context, source) if isinstance(source, str) else source
        for name in named or installed().offers(hook):
            for row in option_rows(installed().load(hook, name)):
                for value in _values(row.type):
                    pair = f"{row.name}={value}"
                    found.setdefault(pair, f"{row.meaning} [{row.default or 'required'}]".strip())
    items = [CompletionItem(pair, help=told) for pair, told in found.items()]
    return [item for item in items if item.value.startswith(begun)]


def _given(context: click.Context, parameter: str) -> tuple[str, ...]:
    """Return what the command line gives for a parameter so far."""
    value = context.params.get(parameter)
    if value is None and parameter in {p.name for p in context.command.params[:1]}:
        value = next((each for each in context.args if each[:1] != "-"), None)  # as for layers
    return (value,) if isinstance(value, str) else tuple(value or ())


def _values(kind: str) -> list[str]:
    """Return the texts that a type of an option allows, only the empty one if there are many."""
    if kind == "bool":
        return ["true", "false"]
    return [""] if kind in ("int", "float", "str") else [each.strip() for each in kind.split(",")]


def _layers(context: click.Context, begun: str, *, joined: bool = False) -> list[CompletionItem]:
    from frivkit.measure.pipeline import Request, inspect_model

    # The option that is being completed has no value yet, so that click leaves arguments unread.
    given = context.params.get("model") or next(each for each in context.args if each[:1] != "-")
    path = Path(given)
    if path.stat().st_size > MOST_BYTES:
        return []
    shape = context.params.get("input_shape")
    request = Request(path, trust=False, input_shape=shape, joined=("*",) if joined else ())
    _, site_map = inspect_model(request)
    return [
        CompletionItem(site.layer, help=f"{site.op}, {site.width} units")
        for site in site_map.sites
        if site.layer.startswith(begun) and (site.op == "Concat" or not joined)
    ]


def _quietly(find: Callable[[], list[CompletionItem]]) -> list[CompletionItem]:
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # the shell reads stdout
            warnings.simplefilter("ignore")
            return find()
    except Exception:  # no model yet, a broken file, a plugin that fails: then there is nothing
        return []
