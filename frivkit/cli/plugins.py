"""``frivkit plugins``: the installed plugins, their offers and options, and load errors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from frivkit.cli.completion import complete_plugins
from frivkit.cli.output import check_places, write_json
from frivkit.cli.terminal import show
from frivkit.errors import PluginError, UsageError, nearest

if TYPE_CHECKING:
    from frivkit.documents.installation import OfferPart, PluginPart, PluginsDocument
    from frivkit.hooks.registry import Plugin
    from frivkit.hooks.specs import Offer


@click.command("plugins")
@click.argument("name", required=False, shell_complete=complete_plugins)
@click.option("--json", "json_to", help="Write JSON to a file, or to stdout for '-'.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(*, name: str | None, json_to: str | None, debug: bool) -> None:
    """List plugins, their offers, and which failed to load.

    With NAME, a plugin, its distribution or what one offers, show each option with its type,
    default and meaning.
    """
    del debug  # read by main
    from frivkit.hooks.registry import installed

    check_places(json_to)
    chosen = installed().plugins if name is None else _named(name)
    plugins: list[PluginPart] = [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "offers": {
                hook: [_facts(plugin, hook, offer, details=name is not None) for offer in offers]
                for hook, offers in plugin.offers.items()
            },
            "error": plugin.error,
        }
        for plugin in chosen
    ]
    if json_to:
        document: PluginsDocument = {"schema": "frivkit.plugins/1", "plugins": plugins}
        write_json(document, json_to)
    if json_to != "-":
        show("\n".join(line for plugin in plugins for line in _lines(plugin)))


def _named(name: str) -> "list[Plugin]":
    """Return the plugin of a name, or those that offer it, without their other offers.

    Raises:
        UsageError: there is neither.
    """
    from dataclasses import replace

    from frivkit.hooks.registry import installed

    plugins = installed().plugins
    if whole := [plugin for plugin in plugins if name in (plugin.name, plugin.distribution)]:
        return whole
    of, _, bare = name.rpartition(":")
    found = []
    for plugin in plugins:
        offers = {
            hook: tuple(offer for offer in offers if offer.name == bare)
            for hook, offers in plugin.offers.items()
        }
        if any(offers.values()) and of in ("", plugin.name):
            offers = {hook: some for hook, some in offers.items() if some}
            found.append(replace(plugin, offers=offers))
    if not found:
        offered = {
            offer.name for plugin in plugins for some in plugin.offers.values() for offer in some
        }
        known = {plugin.name for plugin in plugins} | offered
        near = nearest(name, sorted(known))
        raise UsageError(f"no plugin or offer is named {name!r};{near} see 'frivkit plugins'")
    return found


def _facts(plugin: "Plugin", hook: str, offer: "Offer", *, details: bool) -> "OfferPart":
    """Return an offer as JSON; with its options if they are requested, for which it is loaded."""
    from frivkit.hooks.option_table import description, option_rows
    from frivkit.hooks.registry import installed

    facts: OfferPart = {"name": offer.name, "summary": offer.summary}
    if details:
        facts |= {"target": offer.target, "description": "", "options": [], "error": None}
        try:
            target = installed().load(hook, f"{plugin.name}:{offer.name}")
        except PluginError as error:
            facts["error"] = str(error)
            return facts
        facts["description"] = description(target)
        facts["options"] = [
            {"name": row.name, "type": row.type, "default": row.default, "meaning": row.meaning}
            for row in option_rows(target)
        ]
    return facts


def _lines(plugin: "PluginPart") -> Iterator[str]:
    yield f"{plugin['name']}  ({plugin['distribution']} {plugin['version']})"
    if plugin["error"]:
        yield f"  failed to load: {plugin['error']}"
    for hook, offers in plugin["offers"].items():
        yield f"  {hook.replace('_', ' ')}"
        for offer in offers:
            yield f"    {offer['name']:<14} {offer['summary']}"
            yield from _details(offer)


def _details(offer: "OfferPart") -> Iterator[str]:
    """Yield what is known of an offer: its own text, and its options one by one."""
    from frivkit.report.layout import columns, wrapped

    if offer.get("error"):
        yield f"      failed to load: {offer['error']}"
    for paragraph in offer.get("description", "").split("\n\n"):
        if paragraph:
            yield from wrapped("      " + " ".join(paragraph.replace("``", "").split()), "      ")
    rows = [
        [row["name"], row["type"] if len(row["type"]) <= 20 else "str", row["default"] or "-"]
        for row in offer.get("options", ())
    ]
    if not rows:
        return
    head, *lines = columns([["option", "type", "default"], *rows], right=set(), names=set())
    yield f"      {head}"
    for line, row in zip(lines, offer["options"], strict=True):
        yield f"      {line}"
        choices = f"One of {row['type']}.  " if len(row["type"]) > 20 else ""
        meaning = f"          {choices}{row['meaning']}".rstrip()
        yield from wrapped(meaning, "          ") if meaning.strip() else ()
