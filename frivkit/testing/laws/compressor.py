"""The laws of bases, rankings and refits."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frivkit.compression.method import Basis, Refit
from frivkit.compression.ranking import Ranker
from frivkit.errors import BudgetError, ModelError, UsageError
from frivkit.hooks.registry import installed
from frivkit.testing.laws import compressor_rules as rules
from frivkit.testing.laws.compression_case import CompressionCase, CompressionParts
from frivkit.testing.laws.metric_case import LawError
from frivkit.testing.networks import (
    LabelledNetwork,
    TinyNetwork,
    small_cnn,
    small_mlp,
    tiny,
    wide_cnn,
)

NOISY = 20
"""Noisy versions of each example for laws that need many."""


@dataclass(frozen=True, slots=True)
class CompressionLaw:
    """One rule of bases, rankings and refits.

    Attributes:
        name: Lower-case words with hyphens.
        statement: The law in a sentence.
        networks: The networks on which it is checked.
        rule: Checks one network.
    """

    name: str
    statement: str
    networks: tuple[Callable[[], LabelledNetwork], ...]
    rule: Callable[[CompressionCase], None]

    def check(
        self,
        folder: Path,
        *,
        basis: Basis | None = None,
        ranking: Ranker | None = None,
        refit: Refit | None = None,
    ) -> tuple[str, ...]:
        """Check the law for a basis, a ranking or a refit, with the usual ones for the others.

        Args:
            folder: A folder for files, such as pytest's ``tmp_path``.
            basis: A basis; None takes ``select``.
            ranking: A ranking; None takes ``backward``.
            refit: A refit; None takes ``ridge``.

        Returns:
            The networks on which it was checked.

        Raises:
            LawError: the law is broken, or every network was declined (BudgetError, ModelError or
                UsageError) and nothing could be checked.

        Example:
            >>> import tempfile
            >>> def in_order(layer_group, study):
            ...     return np.arange(len(layer_group.groups))
            >>> import numpy as np
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     COMPRESSION_LAWS[0].check(Path(folder), ranking=in_order)
            ('mlp', 'cnn', 'residual', 'depthwise')
        """
        load = installed().load
        parts = CompressionParts(
            basis or load("bases", "select"),
            ranking or load("rankings", "backward"),
            refit or load("refits", "ridge"),
        )
        checked = []
        declined: Exception | None = None
        for make in self.networks:
            network = make()
            case = CompressionCase(self.name, parts, network, folder)
            try:
                self.rule(case)
            except (BudgetError, ModelError, UsageError) as error:
                declined = error
                continue
            checked.append(network.name)
        if not checked:
            raise LawError(
                f"law {self.name} could not be checked: every network is declined: {declined}"
            ) from declined
        return tuple(checked)


def _changed(
    make: Callable[[], LabelledNetwork], how: str, change: Callable[[TinyNetwork, str], TinyNetwork]
) -> Callable[[], LabelledNetwork]:
    """Return a network whose hidden layers are changed, with more examples: noisy ones."""

    def changed() -> LabelledNetwork:
        network = make()
        weights = network.weights
        if weights is None:
            raise ValueError(f"{network.name} is not built from weights")
        for layer in weights.hidden:
            weights = change(weights, layer)
        network = network.instead(how, weights)
        drawn = np.random.default_rng(0).standard_normal((NOISY, *network.x.shape))
        x = (network.x + 0.2 * drawn).astype(np.float32).reshape(-1, *network.x.shape[1:])
        return replace(network, x=x, y=np.tile(network.y, NOISY))

    return changed


def _twice(weights: TinyNetwork, layer: str) -> TinyNetwork:
    """Return every unit twice, each with half of the weights that read it."""
    units = list(range(weights.units(layer)))
    return weights.rewired(layer, units + units)


def _silenced(weights: TinyNetwork, layer: str) -> TinyNetwork:
    return weights.silenced(layer, 1)


BUILT = (small_mlp, small_cnn)
ALL = (*BUILT, lambda: tiny("residual"), lambda: tiny("depthwise"))

COMPRESSION_LAWS: tuple[CompressionLaw, ...] = (
    CompressionLaw(
        "full-width",
        "A budget of everything changes no output.",
        ALL,
        rules.full_width,
    ),
    CompressionLaw(
        "budgets",
        "The file meets the budget and passes the checker of ONNX.",
        ALL,
        rules.budgets,
    ),
    CompressionLaw(
        "least-budget",
        "A budget that cannot be met is refused with the least share that can be.",
        BUILT,
        rules.least,
    ),
    CompressionLaw(
        "fast-widths",
        "At default widths no node leaves the blocked layout of ONNX Runtime.",
        (wide_cnn, lambda: tiny("depthwise")),
        rules.fast_widths,
    ),
    CompressionLaw(
        "repeatable",
        "One seed gives one plan and the same weights.",
        BUILT,
        rules.repeatable,
    ),
    CompressionLaw(
        "model-unchanged",
        "The model's file and the model in memory stay as they are.",
        (small_cnn,),
        rules.unchanged,
    ),
)
"""The laws of every basis, ranking and refit."""

RANKING_LAWS: tuple[CompressionLaw, ...] = (
    CompressionLaw(
        "sliced-is-masked",
        "Without a refit, the compressed model is the original with the removed units set to zero.",
        ALL,
        rules.sliced_is_masked,
    ),
)
"""Further laws of rankings, and of bases that remove units."""

FOLDING_LAWS: tuple[CompressionLaw, ...] = (
    CompressionLaw(
        "dead-units",
        "Units that never change are removed under the smallest tolerance.",
        tuple(_changed(make, "silenced", _silenced) for make in BUILT),
        rules.dead,
    ),
    CompressionLaw(
        "copied-units",
        "A network with every unit twice is compressed to half its width, with the same labels.",
        tuple(_changed(make, "twice", _twice) for make in BUILT),
        rules.copies,
    ),
    CompressionLaw(
        "unit-order",
        "The order of a layer's units changes nothing but the order of those that stay.",
        (small_cnn,),
        rules.permutation,
    ),
    CompressionLaw(
        "unit-scale",
        "A layer whose units are scaled, and what reads them scaled back, keeps the same units.",
        BUILT,
        rules.scale,
    ),
)
"""Further laws of rankings and refits that use activations to replace units by others.

A refit that keeps the weights, or a ranking at random, breaks them, and need not keep them.
"""
