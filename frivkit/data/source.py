"""The words of data: what a source gives, what a model takes, and a batch in between."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from frivkit.data.spec import DataSpec
from frivkit.errors import DataError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model input wants: name, numpy dtype name, shape of one example (None: any size)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Examples that follow one another.

    Attributes:
        inputs: Arrays of shape (n, *example) by input name, the caller's to change.
        labels: Class labels, shape (n,), int64, 0 or above; None for data without.
        first: Index of the first example.
    """

    inputs: Mapping[str, Array]
    labels: Array | None
    first: int


class DataSource(Protocol):
    """Stored examples, as a source gives them.

    Attributes:
        examples: How many there are.
        columns: Stored number type and full shape of one example, by column name: ``x`` for the
            single input, the model's input names for several, ``y`` for labels if there are any.
        digest: SHA-256 of the content in hexadecimal, whatever the preprocessing.

    A source that knows how many classes its labels have may say so in an attribute ``classes``;
    without, they are counted where ``labels=random`` asks for them.
    """

    @property
    def examples(self) -> int: ...  # noqa: D102  # described above

    @property
    def columns(self) -> Mapping[str, TensorSpec]: ...  # noqa: D102  # described above

    @property
    def digest(self) -> str: ...  # noqa: D102  # described above

    def read(self, start: int, stop: int) -> Mapping[str, Array]:
        """Return examples ``start`` to ``stop`` - 1, at least one, of every column.

        The same rows have the same bytes however they are asked for.
        """
        ...


SourceFactory = Callable[[DataSpec, Sequence[TensorSpec]], DataSource]
"""Opens a spec for the inputs of a model; no inputs mean a single column ``x``.

A source calls :meth:`~frivkit.data.spec.DataSpec.check_keys` with the keys of its own, so that no
other key is silently ignored.  It need not apply ``n``, which the dataset does.
"""


def input_columns(inputs: Sequence[TensorSpec], available: Iterable[str]) -> dict[str, str]:
    """Return the column that feeds each input, by input name.

    A single input is fed by ``x``, else by the column of its own name; several inputs each by the
    column of their name.  Without inputs it is ``x`` that is read.

    Raises:
        DataError: a column is missing.

    Example:
        >>> input_columns([TensorSpec("input.1", "float32", (64,))], ["x", "y"])
        {'input.1': 'x'}
    """
    found = sorted(available)
    if len(inputs) <= 1 and "x" in found:
        return {inputs[0].name if inputs else "x": "x"}
    names = [tensor.name for tensor in inputs] or ["x"]
    for name in names:
        if name not in found:
            wanted = f"{name!r}, an input of the model" if len(names) > 1 else "'x'"
            raise DataError(
                f"no array is named {wanted}; there are {', '.join(found) or 'none'}; rename them"
            )
    return {name: name for name in names}
