"""Types of values in documents: a type of Python with the range and the unit of its values."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """The range of a number.

    Attributes:
        low: The smallest number.
        high: The largest number; None if there is none.
        open_low: Whether ``low`` itself is not allowed.
        open_high: Whether ``high`` itself is not allowed.
    """

    low: float
    high: float | None = None
    open_low: bool = False
    open_high: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """The length of an array.

    Attributes:
        least: The least number of entries.
        most: The largest number of entries; None if there is none.
    """

    least: int
    most: int | None = None


@dataclass(frozen=True, slots=True)
class TextForm:
    """How a text is written.

    Attributes:
        pattern: A regular expression that it matches.
        words: What it is, for readers.
    """

    pattern: str
    words: str


@dataclass(frozen=True, slots=True)
class MeasuredIn:
    """The unit of a number.

    Attributes:
        unit: Its name or symbol.
    """

    unit: str


Natural = Annotated[int, Limits(0)]
Positive = Annotated[int, Limits(1)]
TwoOrMore = Annotated[int, Limits(2)]

NonNegative = Annotated[float, Limits(0)]
AboveZero = Annotated[float, Limits(0, open_low=True)]
AtLeastOne = Annotated[float, Limits(1)]
AtLeastTwo = Annotated[float, Limits(2)]
Signed = Annotated[float, Limits(-1, 1)]
UpToFour = Annotated[float, Limits(0, 4)]
Fraction = Annotated[float, Limits(0, 1), MeasuredIn("share")]
PositiveFraction = Annotated[float, Limits(0, 1, open_low=True), MeasuredIn("share")]
OpenFraction = Annotated[float, Limits(0, 1, open_low=True, open_high=True), MeasuredIn("share")]

AnyUnits = Annotated[int, Limits(0), MeasuredIn("units")]
SomeUnits = Annotated[int, Limits(1), MeasuredIn("units")]
Examples = Annotated[int, Limits(0), MeasuredIn("examples")]
SomeExamples = Annotated[int, Limits(1), MeasuredIn("examples")]
Parameters = Annotated[int, Limits(0), MeasuredIn("parameters")]
Macs = Annotated[int, Limits(0), MeasuredIn("MACs")]
Bytes = Annotated[int, Limits(0), MeasuredIn("bytes")]
Milliseconds = Annotated[float, Limits(0), MeasuredIn("ms")]
Seconds = Annotated[float, Limits(0), MeasuredIn("s")]

Digest = Annotated[str, TextForm("^[0-9a-f]{64}$", "SHA-256 in hexadecimal digits")]
Checksum = Annotated[str, TextForm("^[0-9a-f]{8}$", "CRC-32 in hexadecimal digits")]
OfferName = Annotated[str, TextForm("^[a-z0-9]+(-[a-z0-9]+)*$", "lower case, with hyphens")]
Moment = Annotated[str, TextForm(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$", "ISO 8601 in UTC")]

Some = Annotated[list[T], Items(1)]
Several = Annotated[list[T], Items(2)]
TwoOf = Annotated[list[T], Items(2, 2)]
ThreeOf = Annotated[list[T], Items(3, 3)]

ScopeName = Literal["network", "layer"]
Protocol = Literal["paper", "reference"]
Columns = dict[str, list[float | str | bool | None]]
