"""The document of ``frivkit visualize``."""

from typing import Literal, TypedDict

from frivkit.documents.fields import (
    Digest,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Some,
    SomeUnits,
)
from frivkit.documents.parts import ProvenancePart


class TotalVariationPart(TypedDict):
    """The total variation of each image by four measures.

    Attributes:
        pixels: Of the pixels, as the paper describes it.
        frequencies: Of the magnitudes of its Fourier transform.
        pixels_as_printed: As `pixels`, by the formula that the paper prints.
        frequencies_as_printed: As `frequencies`, by that formula.
    """

    pixels: list[NonNegative]
    frequencies: list[NonNegative]
    pixels_as_printed: list[NonNegative]
    frequencies_as_printed: list[NonNegative]


class InterpretabilityDetail(TypedDict):
    """The detail of `interpretability`, of a layer.

    Attributes:
        units: The number of units of the layer.
        chosen: The units that images were found for.
        total_variation: The total variation of each image by four measures.
        activation_before: The activation of each unit for its image at the start.
        activation_after: The same at the end.
    """

    units: SomeUnits
    chosen: Some[Natural]
    total_variation: TotalVariationPart
    activation_before: Some[float]
    activation_after: Some[float]


class VisualizedModelPart(TypedDict):
    """A model.

    Attributes:
        path: The file as it was given; of a network in memory its variable or its class, in angle
            brackets.
        sha256: Digest of the file with its external data.
    """

    path: str
    sha256: Digest


class PixelDataPart(TypedDict):
    """The data that the range of pixels was taken from.

    Attributes:
        spec: The [data spec](data.md).
        sha256: Digest of the examples.
    """

    spec: str
    sha256: Digest


class ImageSettingsPart(TypedDict):
    """How images were found.

    Attributes:
        units: AnyUnits of each layer at most.
        steps: Steps of gradient ascent.
        method: How images are written down ([visualize](visualize.md)).
        position: Where in a feature map the activation is read: its mean, or its centre.
        seed: Of the units, the first images and the views.
    """

    units: Positive
    steps: Positive
    method: Literal["fourier", "phase"]
    position: Literal["mean", "centre"]
    seed: Natural


class LayerImagesPart(TypedDict):
    """The images of a layer of a model.

    Attributes:
        model: The place of its model in `models`, from 0.
        layer: Its name.
        width: The number of its units.
        units: The units that images were found for.
        activation_before: The activation of each unit for its image at the start.
        activation_after: The same at the end.
        total_variation: The total variation of each image by four measures.
        pieces: The files in the folder `pieces` that hold the images: `images`, shares of
            the range of the data, shape (units, channels, height, width).
    """

    model: Natural
    layer: str
    width: Positive
    units: list[Natural]
    activation_before: list[float]
    activation_after: list[float]
    total_variation: TotalVariationPart
    pieces: list[str]


class RankTestPart(TypedDict):
    """A test of narrow against wide by ranks.

    Attributes:
        p: One-sided; small if the narrow network has the lower values.
        p_upper: One-sided; small if it has the higher values.
        effect: The mean of the narrow network's values divided by the mean of the wide
            one's; null if that is 0.
        exact: Whether all assignments of ranks were counted.
        corrected: The two-sided p value, corrected for the number of layers.
    """

    p: Fraction
    p_upper: Fraction
    effect: float | None
    exact: bool
    corrected: Fraction


class LayerComparisonPart(TypedDict):
    """Narrow against wide, for a layer that both have.

    Attributes:
        layer: The name of the layer.
        pixels: The test of the total variation of the images, as the paper describes it.
        frequencies: The same of the magnitudes of their Fourier transforms.
        pixels_as_printed: As `pixels`, by the formula that the paper prints.
        frequencies_as_printed: As `frequencies`, by that formula.
    """

    layer: str
    pixels: RankTestPart
    frequencies: RankTestPart
    pixels_as_printed: RankTestPart
    frequencies_as_printed: RankTestPart


class VisualizationDocument(TypedDict):
    """What `frivkit visualize` found.

    Attributes:
        schema: The kind and the version of the document.
        models: The model, then the wider one if it was compared with one.
        data: The data that the range of pixels was taken from.
        settings: How images were found.
        layers: The images of each layer of each model.
        comparisons: Narrow against wide, for each layer that both have; empty without
            `--against`.
        warnings: Warnings.
        provenance: Versions, command and time.
    """

    schema: Literal["frivkit.visualization/1"]
    models: list[VisualizedModelPart]
    data: PixelDataPart
    settings: ImageSettingsPart
    layers: list[LayerImagesPart]
    comparisons: list[LayerComparisonPart]
    warnings: list[str]
    provenance: ProvenancePart
