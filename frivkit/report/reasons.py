"""Why layers and nodes are left as they are, like reasons together."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frivkit.report.figures import NAME
from frivkit.report.format import short


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason, with all that it holds for.

    Attributes:
        text: The reason, its own names left out.
        what: What it holds for, in the plural.
        names: Their names.
    """

    text: str
    what: str
    names: tuple[str, ...]


_OWN_NAMES = re.compile(r"'[^']*'|\b\d[\d,]*\b")


def reasons(skipped: Sequence[Mapping[str, str]]) -> list[Reason]:
    """Return the reasons in a list of what is skipped, those of the most first.

    Two reasons are alike if they differ in quoted names and in numbers only.  What follows a name
    and a colon at the beginning is the reason.

    Args:
        skipped: The key ``skipped`` of a document, its texts readable.

    Example:
        >>> rows = [{"node": "a", "op": "Conv", "reason": "it has 3 units"},
        ...         {"node": "b", "op": "Conv", "reason": "it has 5 units"}]
        >>> [(reason.text, reason.names) for reason in reasons(rows)]
        [('it has … units', ('a', 'b'))]
    """
    alike: dict[str, list[tuple[str, str]]] = {}
    kinds: dict[str, set[str]] = {}
    for skip in skipped:
        name = skip.get("layer") or skip["node"]
        text = skip["reason"].removeprefix(f"{name}: ").rstrip(".")
        key = _OWN_NAMES.sub("…", text)
        alike.setdefault(key, []).append((short(name, NAME), text))
        kinds.setdefault(key, set()).add("layers" if "layer" in skip else "nodes")
    found = []
    for key, members in alike.items():
        texts = {text for _, text in members}
        names = tuple(name for name, _ in members)
        shown = texts.pop() if len(texts) == 1 else key
        found.append(Reason(shown, " and ".join(sorted(kinds[key])), names))
    return sorted(found, key=lambda reason: -len(reason.names))
