"""How networks are trained, chosen and measured: what the paper says, and what its code does.

The two differ in more places than one would think.  Each is one field here, and a recipe may set
any of them, so that the effect of a single departure can be measured.  Where the text says nothing,
the code decides for both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from frivkit.errors import UsageError, unknown_name

Kind = Literal["paper", "reference"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """The settings of training, choosing and measuring.

    Attributes:
        measures: Whose prunability and redundancy are taken, as ``frivkit analyze --protocol``
            takes them.
        epochs: Passes over the training examples, at least 1.
        batch: Examples a step, at least 1.
        decay: Factor on the learning rates of ``momentum`` and ``sgd`` after each epoch.
        shuffled: Whether every epoch has an order of its own.  If not, batches are cut from the
            examples repeated without end.
        idle: Batches at the beginning of each epoch that are read and not trained on.
        whole: Whether an epoch has whole batches only, ``examples // batch`` of them.
        ahead: Whether the network is validated before each epoch, not after it, so that what the
            last epoch does is never seen.
        best: Whether the weights of the first epoch with the best validation accuracy are kept,
            not those of the last one.
        spared: Whether validation leaves out the last batch unless it is whole, and measurements
            all whole batches but ``examples // batch - 1`` of them.
        adam: The rate that Adam takes whatever is asked for; 0 for the one that is asked for.
        truncated: Whether initial weights beyond two scales are drawn again (which leaves 0.88 of
            the scale as their s.d.), or are plainly normal.
        hidden: Scale of the hidden layer's initial weights, times the initial factor.
        output: Scale of the output layer's initial weights, times the initial factor.
        balance: The least share of each label in the training examples that a teacher must give;
            another one is drawn until it does.  0 takes the first.
        chosen: What decides which learning rate is the best.

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
    chosen: Literal["validation accuracy", "test accuracy"] = "validation accuracy"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
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
            ("chosen", "validation accuracy or test accuracy", self.chosen.endswith(" accuracy")),
        ):
            if not fine:
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must be {allowed}")

    def measured(self, examples: int) -> int:
        """Return how many of so many examples, counted from the first, are measured.

        Source:
            ``get_robustness.py`` and ``get_activations.py`` of the published code.

        Example:
            >>> REFERENCE.measured(1000), PAPER.measured(1000)
            (768, 1000)
        """
        return max(1, examples // self.batch - 1) * self.batch if self.spared else examples

    def validated(self, examples: int) -> int:
        """Return how many of so many validation examples choose the epoch.

        Source:
            ``train.py`` of the published code.

        Example:
            >>> REFERENCE.validated(1000), PAPER.validated(1000)
            (896, 1000)
        """
        return max(1, examples // self.batch) * self.batch if self.spared else examples

    def changed(self, **changes: Any) -> "Protocol":
        """Return the same with some fields set otherwise.

        Raises:
            UsageError: there is no such field, or the value is of another type or means nothing.

        Example:
            >>> REFERENCE.changed(balance=0.4).balance
            0.4
        """
        known = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise unknown_name("field of a protocol", name, known)
            if type(value) is not known[name] and (known[name], type(value)) != (float, int):
                raise UsageError(f"{name} is {value!r}; write a value such as {known[name]()!r}")
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
