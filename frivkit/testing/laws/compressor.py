"""The laws of what makes models thinner: bases, rankings and refits."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frivkit.compression.method import BasisFactory, Ranker, Refit
from frivkit.errors import BudgetError, ModelError, UsageError
from frivkit.hooks.registry import installed
from frivkit.testing.laws import compressor_rules as rules
from frivkit.testing.laws.case import LawError
from frivkit.testing.laws.thinning import Compressor, Thinning
from frivkit.testing.subjects import Subject, TinyNetwork, small_cnn, small_mlp, tiny

NOISY = 20
"""Noisy versions of each example, where a law needs many."""


@dataclass(frozen=True, slots=True)
class CompressionLaw:
    """Something that is true of a way to make models thinner.

    Attributes:
        name: Lower-case words with hyphens.
        says: The law in a sentence.
        subjects: The networks it is checked on.
        rule: Checks one network.
    """

    name: str
    says: str
    subjects: tuple[Callable[[], Subject], ...]
    rule: Callable[[Thinning], None]

    def check(
        self,
        folder: Path,
        *,
        basis_factory: BasisFactory | None = None,
        ranking: Ranker | None = None,
        refit: Refit | None = None,
    ) -> tuple[str, ...]:
        """Check it against a basis, a ranking or a refit, with the usual ones for the others.

        Args:
            folder: Where files may be written, such as pytest's ``tmp_path``.
            basis_factory: A basis; None takes ``select``.
            ranking: A ranking; None takes ``backward``.
            refit: A refit; None takes ``ridge``.

        Returns:
            The networks on which it was checked.

        Raises:
            LawError: the law is broken, or every network was declined (BudgetError, ModelError or
                UsageError), so that nothing could be checked.

        Example:
            >>> import tempfile
            >>> def first_come(bundle, study):
            ...     return np.arange(len(bundle.groups))
            >>> import numpy as np
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     COMPRESSION_LAWS[0].check(Path(folder), ranking=first_come)
            ('mlp', 'cnn', 'residual', 'depthwise')
        """
        load = installed().load
        compressor = Compressor(
            basis_factory or load("bases", "select"),
            ranking or load("rankings", "backward"),
            refit or load("refits", "ridge"),
        )
        checked = []
        declined: Exception | None = None
        for make in self.subjects:
            subject = make()
            thinning = Thinning(self.name, compressor, subject, folder)
            try:
                self.rule(thinning)
            except (BudgetError, ModelError, UsageError) as error:
                declined = error
                continue
            checked.append(subject.name)
        if not checked:
            raise LawError(
                f"law {self.name} could not be checked: every network is declined: {declined}"
            ) from declined
        return tuple(checked)


def _changed(
    make: Callable[[], Subject], how: str, change: Callable[[TinyNetwork, str], TinyNetwork]
) -> Callable[[], Subject]:
    """Return a subject whose hidden layers are changed, with more examples: noisy ones."""

    def changed() -> Subject:
        subject = make()
        network = subject.network
        if network is None:
            raise ValueError(f"{subject.name} is not built from weights")
        for layer in network.hidden:
            network = change(network, layer)
        subject = subject.instead(how, network)
        drawn = np.random.default_rng(0).standard_normal((NOISY, *subject.x.shape))
        x = (subject.x + 0.2 * drawn).astype(np.float32).reshape(-1, *subject.x.shape[1:])
        return replace(subject, x=x, y=np.tile(subject.y, NOISY))

    return changed


def _twice(network: TinyNetwork, layer: str) -> TinyNetwork:
    """Return every unit twice, each with half of what reads it."""
    units = list(range(network.units(layer)))
    return network.rewired(layer, units + units)


def _silenced(network: TinyNetwork, layer: str) -> TinyNetwork:
    return network.silenced(layer, 1)


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
        "What is written meets the budget, is smaller and passes the checker of ONNX.",
        ALL,
        rules.budgets,
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
        "Without a refit, the thinner model is the original with the units that leave set to zero.",
        ALL,
        rules.sliced_is_masked,
    ),
)
"""Further laws of rankings, and of bases whose units leave."""

FOLDING_LAWS: tuple[CompressionLaw, ...] = (
    CompressionLaw(
        "dead-units",
        "Units that never change leave free.",
        tuple(_changed(make, "silenced", _silenced) for make in BUILT),
        rules.dead,
    ),
    CompressionLaw(
        "copied-units",
        "A network with every unit twice goes back to half its width, and says the same.",
        tuple(_changed(make, "twice", _twice) for make in BUILT),
        rules.copies,
    ),
    CompressionLaw(
        "unit-order",
        "The order of a layer's units changes nothing but the order of those that stay.",
        (small_cnn,),
        rules.permutation,
    ),
)
"""Further laws of what looks at activations and folds units into others.

A refit that keeps weights, or a ranking that draws units at random, breaks them rightly.
"""
