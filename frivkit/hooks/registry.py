"""Find, load and look up plugins.  There is one door, the entry-point group ``frivkit``.

A plugin that fails to import, implements an unknown hook, makes an offer without a proper name, or
has the name of another plugin is recorded with its error and otherwise ignored: commands that do
not use it are not affected.  The target of an offer is imported, and its shape checked, when it is
looked up.
"""

import importlib
import os
import re
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from frivkit.errors import PluginError, UsageError, one_line, unknown_name
from frivkit.hooks import specs as hookspecs
from frivkit.hooks.specs import GROUP, Offer
from frivkit.hooks.targets import fault

HOOKS = tuple(name for name, member in vars(hookspecs).items() if hasattr(member, f"{GROUP}_spec"))

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TARGET = re.compile(r"\w+(\.\w+)*:\w+")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of group ``frivkit``: its offers, or the error for which it has none.

    Attributes:
        name: The entry point's name, which is the import package's by convention.
        distribution: The installed distribution that contains it.
        version: The version of that distribution.
        offers: Its offers, by the name of the hook; hooks without offers are left out.
        error: One line, or None for a plugin that works; a broken plugin has no offers.
    """

    name: str
    distribution: str
    version: str
    offers: dict[str, tuple[Offer, ...]] = field(default_factory=dict)
    error: str | None = None


class Registry:
    """All plugins of this Python environment.

    Args:
        entries: The entry points of the plugins.

    Attributes:
        plugins: The plugins in the order of their names, those that failed to load included.
    """

    def __init__(self, entries: Iterable[EntryPoint]) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        # Of two plugins with one name frivkit's own is loaded and the other reported.
        ordered = sorted(entries, key=lambda e: (e.name, _distribution(e)[0] != "frivkit"))
        self.plugins = [self._load(entry) for entry in ordered]

    def _load(self, entry: EntryPoint) -> Plugin:
        distribution, version = _distribution(entry)
        if self._manager.has_plugin(entry.name):
            taken = f"the name {entry.name!r} is taken by another distribution's plugin"
            return Plugin(entry.name, distribution, version, error=taken)
        try:
            # What a plugin prints must not end up in a result that a program reads from stdout.
            with redirect_stdout(sys.stderr):
                module = entry.load()
                self._manager.register(module, entry.name)
                self._manager.check_pending()
                offers = {hook: self._offers_of(module, hook) for hook in HOOKS}
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything, SystemExit included
            if self._manager.has_plugin(entry.name):
                # A misspelt hook that stayed registered would fail every later plugin, too.
                self._manager.unregister(name=entry.name)
            return Plugin(entry.name, distribution, version, error=one_line(error, named=True))
        made = {hook: some for hook, some in offers.items() if some}
        return Plugin(entry.name, distribution, version, made)

    def _offers_of(self, module: Any, hook: str) -> tuple[Offer, ...]:
        offers: list[Offer] = []
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin is not module:
                continue
            returned = implementation.function()
            if not isinstance(returned, list | tuple):
                raise PluginError(f"hook {hook} returned {returned!r}, not a list of Offer")
            for offer in returned:
                _check(offer, hook, {earlier.name for earlier in offers})
                offers.append(offer)
        return tuple(offers)

    def _claims(self, hook: str) -> dict[str, list[tuple[Plugin, Offer]]]:
        by_name: dict[str, list[tuple[Plugin, Offer]]] = {}
        for plugin in self.plugins:
            for offer in plugin.offers.get(hook, ()):
                by_name.setdefault(offer.name, []).append((plugin, offer))
        return by_name

    def offers(self, hook: str) -> dict[str, Offer]:
        """Return the offers of ``hook`` by the name a user writes, in alphabetical order.

        A name that two plugins offer is written ``plugin:name``; the bare name is then not there.
        """
        return {
            name if len(claims) == 1 else f"{plugin.name}:{name}": offer
            for name, claims in sorted(self._claims(hook).items())
            for plugin, offer in claims
        }

    def versions(self) -> dict[str, str]:
        """Return the version of each plugin that loaded, by name; broken ones are left out."""
        return {plugin.name: plugin.version for plugin in self.plugins if not plugin.error}

    def load(self, hook: str, name: str) -> Any:
        """Import and return the target of the offer ``name`` of ``hook``.

        Args:
            hook: One of ``HOOKS``.
            name: The offer's name.  ``plugin:name`` is needed if two plugins offer it, and is
                always understood.

        Raises:
            UsageError: no plugin offers that name, or two do; the message holds the nearest names,
                or both full ones, and the plugins that failed to load.
            PluginError: the target cannot be imported, or lacks an attribute or call that targets
                of this hook have (:mod:`frivkit.hooks.targets`).
        """
        plugin, offer = self._find(hook, name)
        module, _, attribute = offer.target.partition(":")
        try:
            with redirect_stdout(sys.stderr):
                target = getattr(importlib.import_module(module), attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # as above: importing runs code that is not ours
            raise PluginError(
                f"{_kind(hook)} {name!r} cannot be loaded from {offer.target}: "
                f"{one_line(error, named=True)}; "
                f"reinstall or remove {plugin.distribution} {plugin.version}"
            ) from error
        wrong = fault(hook, target)
        if wrong is not None:
            raise PluginError(
                f"{_kind(hook)} {name!r} cannot be used: {offer.target} does not fit the hook "
                f"{hook}: {wrong}; update or remove {plugin.distribution} {plugin.version}"
            )
        return target

    def _find(self, hook: str, name: str) -> tuple[Plugin, Offer]:
        prefix, colon, bare = name.rpartition(":")
        claims = [
            (plugin, offer)
            for plugin, offer in self._claims(hook).get(bare, ())
            if not colon or plugin.name == prefix
        ]
        if len(claims) == 1:
            return claims[0]
        if claims:
            full = " or ".join(f"{plugin.name}:{bare}" for plugin, _ in claims)
            raise UsageError(f"{len(claims)} plugins offer a {_kind(hook)} {name!r}; write {full}")
        error = unknown_name(_kind(hook), name, self.offers(hook))
        broken = ", ".join(plugin.name for plugin in self.plugins if plugin.error)
        if broken:
            raise UsageError(f"{error}; failed to load: {broken} (see frivkit plugins)")
        raise error


def _check(offer: object, hook: str, taken: set[str]) -> None:
    if not isinstance(offer, Offer):
        raise PluginError(f"hook {hook} returned {offer!r}, not an Offer")
    if not isinstance(offer.name, str) or not _NAME.fullmatch(offer.name):
        raise PluginError(f"hook {hook} offers the name {offer.name!r}, not lower-case-words")
    if offer.name in taken:
        raise PluginError(f"hook {hook} offers {offer.name!r} twice")
    if not isinstance(offer.target, str) or not _TARGET.fullmatch(offer.target):
        raise PluginError(f"hook {hook} offers the target {offer.target!r}, not 'module:attribute'")


def _kind(hook: str) -> str:
    return "basis" if hook == "bases" else hook.removesuffix("s").replace("_", " ")


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")


@cache
def installed() -> Registry:
    """Return the registry of this environment, loaded once in each process.

    ``FRIVKIT_LOAD_PLUGINS=a,b`` restricts loading to these entry points; if empty, none is loaded.

    Raises:
        UsageError: ``FRIVKIT_LOAD_PLUGINS`` names a plugin that is not installed.
    """
    entries = list(entry_points(group=GROUP))
    wanted = os.environ.get("FRIVKIT_LOAD_PLUGINS")
    if wanted is not None:
        names = {name.strip() for name in wanted.split(",")} - {""}
        known = {entry.name for entry in entries}
        missing = sorted(names - known)
        if missing:
            raise unknown_name("plugin (FRIVKIT_LOAD_PLUGINS)", missing[0], known)
        entries = [entry for entry in entries if entry.name in names]
    return Registry(entries)
