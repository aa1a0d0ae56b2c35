"""Short names for files that are shown beside each other."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path, no two equal: the file's without its ending, if that suffices.

    Example:
        >>> labels_of([Path("a/before.json"), Path("a/after.json")])
        ['before', 'after']
        >>> labels_of([Path("a/x.json"), Path("b/x.json"), Path("b/x.json")])
        ['a/x', 'b/x', 'b/x (2)']
    """
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems):
        stems = [str(path.with_suffix("")) for path in paths]
    seen: Counter[str] = Counter()
    labels = []
    for stem in stems:
        seen[stem] += 1
        labels.append(stem if seen[stem] == 1 else f"{stem} ({seen[stem]})")
    return labels
