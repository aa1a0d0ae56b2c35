"""Keys of cached results."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import frivkit
from frivkit.cache.entry import VERSION


@dataclass(frozen=True, slots=True)
class Key:
    """All that a cached result depends on; two keys that differ in a field have two entries.

    Attributes:
        model: The sha256 of the model, its external data included.
        data: The digest of the examples, their preprocessing and their order.
        site: The name of the tensor, or empty.
        selector: The name of the unit selector with its options, or empty.
        what: The kind of the result: ``"outputs"``, ``"entries"``, ``"ablation"``.
        extra: Further dependencies by name: runtime version, provider, dtype, masks.  They are
            given as a mapping or as pairs, and stored as sorted pairs.

    Raises:
        TypeError: a field or a value of ``extra`` is not text.
        ValueError: ``extra`` has a name twice.

    Example:
        >>> a = Key("m", "d", "", "", "outputs", {"dtype": "float32"})
        >>> b = Key("m", "d", "", "", "outputs", (("dtype", "float32"),))
        >>> a == b and a.digest == b.digest and len(a.digest) == 64
        True
    """

    model: str
    data: str
    site: str
    selector: str
    what: str
    extra: Mapping[str, str] | tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        pairs = self.extra.items() if isinstance(self.extra, Mapping) else self.extra
        pairs = tuple(sorted((name, value) for name, value in pairs))
        named = (self.model, self.data, self.site, self.selector, self.what)
        for text in (*named, *(text for pair in pairs for text in pair)):
            if not isinstance(text, str):
                raise TypeError(f"a cache key is made of text, not of {text!r}")
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"a cache key has each extra name once, unlike {pairs!r}")
        object.__setattr__(self, "extra", pairs)

    @property
    def json(self) -> str:
        """The canonical JSON of all fields and of the versions of the format and of frivkit."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        versions = {"encoding-version": VERSION, "frivkit": frivkit.__version__}
        document = fields | {"extra": dict(self.extra)} | versions
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """The sha256 of :attr:`json` in hexadecimal, which is the name of the entry's file."""
        return hashlib.sha256(self.json.encode()).hexdigest()
