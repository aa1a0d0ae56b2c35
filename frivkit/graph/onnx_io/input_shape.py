"""Read the argument of ``--input-shape``: sizes and number types of a model's inputs."""

import re
from dataclasses import dataclass

from frivkit.errors import ModelError

DTYPES = (
    *("float32", "float64", "float16", "bool"),
    *("int64", "int32", "int16", "int8", "uint8"),
)
"""The number types that can be requested."""

_SHAPE = re.compile(r"((?:[1-9][0-9]{0,9}|n)(?:x(?:[1-9][0-9]{0,9}|n))*)(?::([a-z0-9]+))?")


@dataclass(frozen=True, slots=True)
class InputShape:
    """The requested shape of one input.

    Attributes:
        text: The part of the argument.
        sizes: All axes in the file's order; each at least 1.
        dtype: A numpy type name of :data:`DTYPES`, None if none is given.
        examples: The axis that is written ``n``, on which the examples lie; None if none is.
    """

    text: str
    sizes: tuple[int, ...]
    dtype: str | None
    examples: int | None = None


def parse_input_shapes(text: str) -> tuple[InputShape, ...]:
    """Read ``SHAPE[:DTYPE][,SHAPE[:DTYPE]...]``, at least one.

    Raises:
        ModelError: it is not of that form.

    Example:
        >>> [(each.sizes, each.dtype) for each in parse_input_shapes("1x3x32x32,1x10:int64")]
        [((1, 3, 32, 32), None), ((1, 10), 'int64')]
        >>> parse_input_shapes("7xnx40")[0].examples
        1
    """
    shapes = []
    for part in text.lower().split(","):
        match = _SHAPE.fullmatch(part)
        sizes = [] if match is None else match[1].split("x")
        if match is None or sizes.count("n") > 1:
            raise ModelError(
                f"--input-shape {text!r} is not of the form 1x3x32x32: whole numbers from 1, "
                "all axes of the input, the batch in front or written n, as in 7xnx40; a comma "
                "between several inputs"
            )
        if match[2] not in (None, *DTYPES):
            raise ModelError(
                f"--input-shape {text!r} asks for {match[2]!r}, which is no number type here; "
                f"known: {', '.join(DTYPES)}"
            )
        examples = sizes.index("n") if "n" in sizes else None
        numbers = tuple(1 if size == "n" else int(size) for size in sizes)
        shapes.append(InputShape(part, numbers, match[2], examples))
    return tuple(shapes)
