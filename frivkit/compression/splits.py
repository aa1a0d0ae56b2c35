"""Which examples are calibrated on, searched on and verified on."""

from frivkit.data import Data, Dataset, as_dataset
from frivkit.data.subset import split
from frivkit.errors import DataError
from frivkit.graph.model import Model

MIN_EXAMPLES = 8
"""Examples below which there are too few to split."""


def split_examples(
    examples: Dataset, model: Model, verify_data: Data | None, *, searches: bool
) -> tuple[Dataset, Dataset | None, Dataset]:
    """Return the examples to calibrate on, to search for an agreement on, and to verify on.

    Args:
        examples: All examples that are given for the calibration.
        model: The model that they are for.
        verify_data: Examples to verify on; None sets aside one in four of the others.
        searches: Whether some are set aside to search for an agreement.

    Raises:
        DataError: there are too few.
    """
    data = examples
    if verify_data is not None:
        held_out: Dataset = as_dataset(verify_data, model.inputs)
    else:
        if examples.examples < MIN_EXAMPLES:
            raise DataError(
                f"{examples.description} has {examples.examples} examples, too few to calibrate on "
                f"some and verify on others: give {MIN_EXAMPLES} or more, or --verify-data"
            )
        data, held_out = split(examples)
    if not searches:
        return data, None, held_out
    if data.examples < MIN_EXAMPLES:
        raise DataError(
            f"{data.examples} examples are too few to calibrate on some and search for an "
            f"agreement on others: give {MIN_EXAMPLES} or more"
        )
    return *split(data), held_out
