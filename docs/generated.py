"""A Sphinx extension: what the site says of the installed code, made when the site is built.

In MyST, ``{offers}`` lists what the built-in plugins offer, with options, ``{changes}`` the changes
since the last release, ``{document} NAME`` the keys of a JSON document, ``{details}`` those of the
details of metrics, and ``{shared}`` those that several documents have.
"""

from pathlib import Path
from typing import Any

import json_reference
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from frivkit.errors import FrivkitError
from frivkit.hooks.option_table import option_rows
from frivkit.hooks.registry import HOOKS, Registry, installed

KINDS = ("added", "changed", "deprecated", "removed", "fixed")


class Markdown(SphinxDirective):
    """A directive whose content is Markdown that is made when the site is built."""

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the Markdown."""
        return self.parse_text_to_nodes(self.markdown(), allow_section_headings=True)

    def markdown(self) -> str:
        """Return the Markdown."""
        raise NotImplementedError


class Offers(Markdown):
    """All offers by hook, each with its summary and options."""

    def markdown(self) -> str:
        """Return a section for each hook that has offers."""
        registry = installed()
        parts = []
        for hook in HOOKS:
            offers = registry.offers(hook)
            if not offers:
                continue
            parts.append(f"## {hook.replace('_', ' ').capitalize()}\n\n| name | |\n|---|---|")
            parts += [f"| `{name}` | {offer.summary} |" for name, offer in offers.items()]
            parts += [""]
            for name in offers:
                parts += _options(name, _target(registry, hook, name))
        return "\n".join(parts)


def _target(registry: Registry, hook: str, name: str) -> Any:
    """Return the object offered, or None where an extra that it needs is not installed."""
    try:
        return registry.load(hook, name)
    except FrivkitError:
        return None


def _options(name: str, target: Any) -> list[str]:
    rows = [
        f"| `{row.name}` | {row.type} | {'' if row.default is None else f'`{row.default}`'} | "
        f"{row.meaning.replace('``', '`')} |"
        for row in option_rows(target)
    ]
    head = ["| option | type | default | meaning |", "|---|---|---|---|"]
    return [f"Options of `{name}`:", "", *head, *rows, ""] if rows else []


class Changes(Markdown):
    """The fragments of ``docs/changes``, gathered by kind."""

    def markdown(self) -> str:
        """Return a section for each kind of change."""
        folder = Path(self.env.srcdir) / "changes"
        parts = []
        for kind in KINDS:
            fragments = sorted(folder.glob(f"*.{kind}.md"))
            if fragments:
                parts.append(f"## {kind.capitalize()}\n")
                parts += [f"- {' '.join(each.read_text().split())}" for each in fragments]
                parts.append("")
        return "\n".join(parts)


class Document(Markdown):
    """The keys of a JSON document."""

    required_arguments = 1

    def markdown(self) -> str:
        """Return the tables of the document that is named."""
        return json_reference.document_markdown(self.arguments[0])


class Details(Markdown):
    """The keys of the details of built-in metrics."""

    def markdown(self) -> str:
        """Return the tables of all details."""
        return json_reference.details_markdown()


class Shared(Markdown):
    """The keys of the parts that several JSON documents have."""

    def markdown(self) -> str:
        """Return the tables of these parts."""
        return json_reference.shared_markdown()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    for directive in (Offers, Changes, Document, Details, Shared):
        app.add_directive(directive.__name__.lower(), directive)
    return {"parallel_read_safe": True}
