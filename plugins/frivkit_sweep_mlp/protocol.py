"""Protocols of training, choosing and measuring: the paper's text, and its published code.

Each difference between them is one field, and a recipe may set any field, so that the effect of a
single difference can be measured.  If the text does not specify a field, the code decides for both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from frivkit.errors import UsageError, unknown_name

Kind = Literal["paper", "reference"]
Chosen = Literal["validation accuracy", "test accuracy"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """The settings of training, choosing and measuring.

    Attributes:
        measures: The protocol of prunability and redundancy, as in ``frivkit analyze --protocol``.
        epochs: Passes over the training examples, at least 1.
        batch: Examples of one step, at least 1.
        decay: Factor on the learning rates of ``momentum`` and ``sgd`` after each epoch.
        shuffled: Whether each epoch has a random order of its own.  If not, batches are cut from
            the endlessly repeated examples.
        idle: Batches at the beginning of each epoch that are read and not trained on.
        whole: Whether an epoch has whole batches only, ``examples // batch`` of them.
        ahead: Whether the network is validated before each epoch, not after it, so that the last
            epoch is never validated.
        best: Whether the weights of the first epoch with the best validation accuracy are used,
            not those of the last one.
        spared: Whether validation uses whole batches only, and measurements one whole batch less.
        adam: The learning rate of Adam, whatever the recipe's; 0 for the recipe's.
        truncated: Whether initial weights beyond two scales are drawn again, which makes their s.d.
            0.88 of the scale; else they are normal.
        hidden: Scale of the hidden layer's initial weights, times the initial factor.
        output: Scale of the output layer's initial weights, times the initial factor.
        balance: The least share of each label in the training examples; teachers are drawn until
            one gives it.  0 takes the first.
        chosen: The accuracy by which the best learning rate is chosen.

    Source:
        Casper et al. 2021, arXiv:1912.04783, section 4 and appendix D, and the code published with
        it (https://github.com/biolins/frivolous_dnns).
    """

    measures: Kind = "paper"
    epochs: int = 50
    batch: int = 128
    decay: float = 0.95
    shuffled: bool = True
    idle: int = 0
    whole: bool = False
    ahead: bool = False
    best: bool = True
    spared: bool = False
    adam: float = 0.0
    truncated: bool = False
    hidden: float = 0.01
    output: float = 0.01
    balance: float = 0.4
    chosen: Chosen = "validation accuracy"

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a value out of range."""
        for name, allowed, fine in (
            ("measures", "paper or reference", self.measures in get_args(Kind)),
            ("epochs", "1 or more", self.epochs >= 1),
            ("batch", "1 or more", self.batch >= 1),
            ("decay", "above 0 and at most 1", 0 < self.decay <= 1),
            ("idle", "0 or more", self.idle >= 0),
            ("adam", "0 or more", self.adam >= 0),
            ("hidden", "above 0", self.hidden > 0),
            ("output", "above 0", self.output > 0),
            ("balance", "0 to 0.5, and below 0.5", 0 <= self.balance < 0.5),
            ("chosen", " or ".join(get_args(Chosen)), self.chosen in get_args(Chosen)),
        ):
            if not fine:
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must be {allowed}")

    def measured(self, examples: int) -> int:
        """Return the number of examples to measure, out of ``examples``, counted from the first.

        Source:
            ``get_robustness.py`` and ``get_activations.py`` of the published code.

        Example:
            >>> REFERENCE.measured(1000), PAPER.measured(1000)
            (768, 1000)
        """
        return max(1, examples // self.batch - 1) * self.batch if self.spared else examples

    def validated(self, examples: int) -> int:
        """Return the number of validation examples that choose the epoch, out of ``examples``.

        Source:
            ``train.py`` of the published code.

        Example:
            >>> REFERENCE.validated(1000), PAPER.validated(1000)
            (896, 1000)
        """
        return max(1, examples // self.batch) * self.batch if self.spared else examples

    def changed(self, **changes: Any) -> "Protocol":
        """Return the protocol with some fields changed.

        Raises:
            UsageError: there is no such field, or the value has another type or is out of range.

        Example:
            >>> REFERENCE.changed(balance=0.4).balance
            0.4
        """
        types = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        for name, value in changes.items():
            if name not in types:
                raise unknown_name("field of a protocol", name, types)
            if type(value) is not types[name] and (types[name], type(value)) != (float, int):
                raise UsageError(f"{name} is {value!r}; write a value such as {types[name]()!r}")
        return replace(self, **changes)


PAPER = Protocol()
REFERENCE = Protocol(
    measures="reference",
    shuffled=False,
    idle=1,
    whole=True,
    ahead=True,
    spared=True,
    adam=0.001,
    truncated=True,
    hidden=0.001,
    balance=0.0,
    chosen="test accuracy",
)
PROTOCOLS: Mapping[str, Protocol] = {"paper": PAPER, "reference": REFERENCE}
