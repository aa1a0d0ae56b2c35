"""The data spec: one line of text that names the examples to read and how to prepare them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Never
from urllib.parse import quote, unquote

from frivkit.errors import UsageError, unknown_name

SHARED_KEYS = (
    *("n", "size", "crop", "scale", "mean", "std", "standardise", "resize"),
    *("channels", "layout", "dtype", "labels", "labels_seed"),
)
"""The keys of every source; ``split`` belongs to the sources that have it."""

ARRAYS = "arrays"
"""The name in the spec of arrays in memory, which no text can open."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,20}", re.ASCII)
_SIZES = re.compile(r"[0-9]{1,9}(x[0-9]{1,9})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class DataSpec:
    r"""A parsed ``NAME[:PATH][?key=value&...]``.

    The path is taken literally: it may contain ``:``, ``%`` and spaces.  The options begin after
    the last ``?``, so a path that contains a ``?`` needs another ``?`` after it.  Values, but not
    paths, are percent-decoded as in a URL; ``+`` is a plus.

    Attributes:
        name: The source: lower-case letters, digits, ``-`` and ``_``.
        path: The text after the first colon, never empty; None if there is no colon.
        options: Values by key, decoded; not to be changed.
        bare_path: The path that was given without a source, if the source was chosen for it by
            :func:`~frivkit.data.bare_path.read_spec`; None for a spec that names its source.

    Raises:
        UsageError: the name, the path or a key is malformed.

    Example:
        >>> spec = DataSpec.parse(r"npz:C:\data\train.npz?scale=1/255&n=10")
        >>> spec.path, spec.options["scale"]
        ('C:\\data\\train.npz', '1/255')
        >>> str(spec)
        'npz:C:\\data\\train.npz?n=10&scale=1/255'
    """

    name: str
    path: str | None = None
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    bare_path: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"data spec: {self.name!r} is not the name of a source; "
                "write NAME[:PATH][?key=value&...], such as npz:data.npz?n=100, or an existing path"
            )
        if self.path == "":
            raise UsageError(
                f"data spec {self.name}: nothing follows the colon; add a path or remove the colon"
            )
        for key in self.options:
            if not _NAME.fullmatch(key):
                raise UsageError(f"data spec {self.name}: {key!r} cannot be a key")

    @classmethod
    def parse(cls, text: str) -> "DataSpec":
        """Parse a spec.

        Raises:
            UsageError: it is malformed; the message names the part at fault.
        """
        source, options = split_options(text)
        name, colon, path = source.partition(":")
        return cls(name, path if colon else None, options)

    def __str__(self) -> str:
        text = self.name if self.path is None else f"{self.name}:{self.path}"
        pairs = [f"{key}={_quoted(value)}" for key, value in sorted(self.options.items())]
        return f"{text}?{'&'.join(pairs)}" if pairs or "?" in text else text

    def with_options(self, **changed: object) -> "DataSpec":
        """Return a copy with other values for the given options.

        Example:
            >>> str(DataSpec("digits").with_options(split="test", n=10))
            'digits?n=10&split=test'
        """
        texts = {key: str(value) for key, value in changed.items()}
        return replace(self, options={**self.options, **texts})

    def without(self, *keys: str) -> "DataSpec":
        """Return a copy without the given options.

        Example:
            >>> str(DataSpec.parse("digits?n=10&split=test").without("n"))
            'digits?split=test'
        """
        others = {key: value for key, value in self.options.items() if key not in keys}
        return replace(self, options=others)

    def check_keys(self, *own: str) -> None:
        """Raise for a key that is neither shared nor one of ``own``.

        Raises:
            UsageError: there is such a key; the message lists the nearest known ones.
        """
        for key in self.options:
            if key not in (*SHARED_KEYS, *own):
                raise unknown_name(f"key of data source {self.name}", key, (*SHARED_KEYS, *own))

    def needed_path(self, what: str) -> str:
        """Return the path of a spec whose source requires one.

        Args:
            what: The kind of path, for the message, such as ``"a file"``.

        Raises:
            UsageError: there is none.
        """
        if self.path is None:
            raise UsageError(f"data source {self.name} reads {what}; write {self.name}:PATH")
        return self.path

    def refuse_path(self) -> None:
        """Raise if the spec has a path, for a source that reads none.

        Raises:
            UsageError: it has one.
        """
        if self.path is not None:
            raise UsageError(
                f"data source {self.name} takes no path, but got {self.path!r}; remove it"
            )

    def choice(self, key: str, known: Sequence[str], default: str) -> str:
        """Return the value of ``key``, one of ``known``.

        Raises:
            UsageError: it is another; the message lists the known values.
        """
        value = self.options.get(key, default)
        return value if value in known else self._refuse(key, f"one of {', '.join(known)}")

    def whole(self, key: str, default: int, least: int = 0, most: int = 2**63 - 1) -> int:
        """Return the value of ``key``, a whole number from ``least`` to ``most``.

        Raises:
            UsageError: it is not such a number.
        """
        text = self.options.get(key, str(default))
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            self._refuse(key, f"a whole number from {least} to {most}")
        return int(text)

    def sizes(self, key: str) -> tuple[int, ...] | None:
        """Return the sizes in the value of ``key``, each at least 1; None without the key.

        Sizes are separated by ``x``, as in ``32x32``.

        Raises:
            UsageError: it is not of that form.
        """
        text = self.options.get(key)
        if text is None:
            return None
        sizes = tuple(map(int, text.split("x"))) if _SIZES.fullmatch(text) else (0,)
        return sizes if min(sizes) > 0 else self._refuse(key, "sizes such as 32x32")

    def numbers(self, key: str) -> tuple[float, ...] | None:
        """Return the numbers in the value of ``key``; None without the key.

        Numbers are finite, may be fractions such as ``1/255``, and are separated by commas.

        Raises:
            UsageError: it is not of that form.

        Example:
            >>> DataSpec("digits", None, {"scale": "1/16"}).numbers("scale")
            (0.0625,)
        """
        text = self.options.get(key)
        if text is None:
            return None
        try:
            numbers = tuple(_number(part) for part in text.split(","))
        except (ValueError, ZeroDivisionError):
            numbers = (math.nan,)
        if not all(map(math.isfinite, numbers)):
            self._refuse(key, "a finite number or a fraction such as 1/255")
        return numbers

    def _refuse(self, key: str, wanted: str) -> Never:
        value = self.options.get(key)
        raise UsageError(f"data source {self.name}: {key}={value} is not {wanted}")


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """Split a spec, or a path with keys, at its last ``?``.

    Returns:
        The text before the ``?``, and the decoded values by key.

    Raises:
        UsageError: a key has no value, or is given twice.

    Example:
        >>> split_options("my_images/?scale=1/255")
        ('my_images/', {'scale': '1/255'})
    """
    source, _, query = text.rpartition("?") if "?" in text else (text, "", "")
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        if not (key and equals):
            raise UsageError(f"data spec {text!r}: {part!r} is not of the form key=value")
        if key in options:
            raise UsageError(f"data spec {text!r}: {key!r} is given twice; give it once")
        options[key] = unquote(value, errors="surrogateescape")
    return source, options


def _number(text: str) -> float:
    numerator, bar, denominator = text.partition("/")
    return float(numerator) / float(denominator) if bar else float(numerator)


def _quoted(value: str) -> str:
    return quote(value, safe="/,:+*@!()", errors="surrogateescape")
