"""The names of a new plugin: its distribution, its package, its entry point and its offer."""

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec

from frivkit.errors import UsageError
from frivkit.hooks.specs import GROUP

_WORDS = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_MOST = 60
_PREFIX = "frivkit-"


@dataclass(frozen=True, slots=True)
class PluginNames:
    """The names of a plugin.

    Attributes:
        distribution: What pip installs.
        package: What Python imports, and the entry point.
        offer: What users of frivkit write: the distribution's name without ``frivkit-``.
    """

    distribution: str
    package: str
    offer: str

    @classmethod
    def of(cls, text: str) -> "PluginNames":
        """Return the names for what a user wrote.

        Args:
            text: Lower-case words with hyphens or underscores, at most 60 characters.

        Raises:
            UsageError: it is no such text, or Python or another package has the name.

        Example:
            >>> names = PluginNames.of("frivkit-label-entropy")
            >>> names.package, names.offer
            ('frivkit_label_entropy', 'label-entropy')
        """
        if not (text.isascii() and _WORDS.fullmatch(text) and len(text) <= _MOST):
            raise UsageError(
                f"a plugin cannot be named {text[:_MOST]!r}; write at most {_MOST} lower-case "
                f"letters, digits and hyphens, such as {_near(text)}"
            )
        distribution = text.replace("_", "-")
        package = distribution.replace("-", "_")
        if keyword.iskeyword(package) or package == "tests" or _is_taken(package):
            raise UsageError(
                f"a plugin cannot be named {text}: Python or an installed package has the name "
                f"{package}; give another, such as frivkit-my-{distribution.removeprefix(_PREFIX)}"
            )
        return cls(distribution, package, distribution.removeprefix(_PREFIX))


def _near(text: str) -> str:
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", text).lower())
    near = "-".join(words)[: _MOST - len(_PREFIX)].strip("-")
    return _PREFIX + (near.removeprefix(_PREFIX) or "label-entropy")


def _is_taken(package: str) -> bool:
    """Whether a package of this name is there that is no third party's plugin.

    A plugin of that name is the one that is being written, from an earlier try.
    """
    if package in sys.stdlib_module_names:
        return True
    found = find_spec(package)
    if found is None or found.origin is None:  # a folder without __init__.py, such as a project
        return False
    entries = entry_points(group=GROUP, name=package)
    return not entries or any(e.dist is not None and e.dist.name == "frivkit" for e in entries)
