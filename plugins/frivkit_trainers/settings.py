"""The options of the trainer ``lab``, and its learning rate."""

from dataclasses import dataclass
from typing import Literal

from frivkit.errors import UsageError

Optimiser = Literal["momentum", "sgd", "adam", "rmsprop", "adagrad", "proximal-adagrad", "ftrl"]
"""The values of the option ``optimiser``."""


@dataclass(frozen=True, slots=True)
class LabOptions:
    """Settings of :func:`frivkit_trainers.lab.lab`; the defaults are those of the paper's MLPs.

    Attributes:
        protocol: ``paper``, or ``reference`` for the code published with it; see there.
        optimiser: The optimiser.
        epochs: Passes over the data, at least 0.
        lr: Initial learning rate, above 0.
        batch: Examples per step, at least 2.
        k: Factor on both ``lr`` and ``batch``, above 0.
        momentum: Momentum of the optimiser ``momentum``, in [0, 1).
        schedule: How the rate falls: not at all, by ``decay`` after every ``every`` epochs, or to
            a tenth at each epoch in ``steps``.
        decay: Factor on the rate, in (0, 1].
        every: Epochs between two decays, at least 1.
        steps: Increasing epochs, as in ``91,136``.
        warmup: Epochs over which the rate rises linearly to its initial value, at least 0.
        weight_decay: Weight decay: this times the weights is added to their gradient, at least 0.
        decay_scope: The decayed parameters: ``all``, ``weights`` without biases and batch norm, or
            the weights of ``dense`` layers but the last.
        pad: Zeros added around training images, in pixels per side, at least 0.
        crop: Whether training images are cropped at a random position, else in the centre; with
            ``proportions``, crops also have a random size and shape and are resized.
        flip: Whether half of the training images, at random, are mirrored left to right.
        brightness: Largest number that is added to all values of a training image, at least 0.
        contrast: Largest change of a training image's contrast, in [0, 1]; 0.8 for 0.2 to 1.8.
        watch: Data of the accuracy that chooses an epoch and stops training early: ``validation``
            or ``train``.
        choose: The final weights: those of the ``best`` epoch by ``watch``, or of the ``last``.
        patience: Epochs without a better accuracy after which training stops; 0 for never.
        enough: Accuracy at which training stops, in [0, 1]; 0 for never.
        checkpoint: Folder for the state after each epoch, from which training resumes; "" for none.
        keep_last: Number of last epochs that are written as separate files, at least 0.
        device: Device to train on.
        mixed: Whether to multiply in bfloat16; on ``cuda`` only.
        compile: Whether to compile the network with torch; on ``cuda`` only.
    """

    protocol: Literal["paper", "reference"] = "paper"
    optimiser: Optimiser = "momentum"
    epochs: int = 50
    lr: float = 0.01
    batch: int = 128
    k: float = 1.0
    momentum: float = 0.9
    schedule: Literal["constant", "exponential", "steps"] = "exponential"
    decay: float = 0.95
    every: int = 1
    steps: str = ""
    warmup: int = 0
    weight_decay: float = 0.0
    decay_scope: Literal["all", "weights", "dense"] = "all"
    pad: int = 0
    crop: Literal["no", "yes", "proportions"] = "no"
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    watch: Literal["validation", "train"] = "validation"
    choose: Literal["best", "last"] = "best"
    patience: int = 0
    enough: float = 0.0
    checkpoint: str = ""
    keep_last: int = 0
    device: Literal["cpu", "cuda"] = "cpu"
    mixed: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        for name, allowed, fine in (
            ("epochs", "0 or more", self.epochs >= 0),
            ("lr", "more than 0", self.lr > 0),
            ("batch", "2 or more", self.batch >= 2),
            ("k", "more than 0 and leave batches of 2", self.k > 0 and self.size >= 2),
            ("momentum", "at least 0 and below 1", 0 <= self.momentum < 1),
            ("decay", "above 0 and at most 1", 0 < self.decay <= 1),
            ("every", "1 or more", self.every >= 1),
            ("steps", "increasing epochs such as 91,136", self._steps_increase()),
            ("warmup", "0 or more", self.warmup >= 0),
            ("weight_decay", "0 or more", self.weight_decay >= 0),
            ("pad", "from 0 to 1024", 0 <= self.pad <= 1024),
            ("brightness", "0 or more", self.brightness >= 0),
            ("contrast", "from 0 to 1", 0 <= self.contrast <= 1),
            ("patience", "0 or more", self.patience >= 0),
            ("enough", "from 0 to 1", 0 <= self.enough <= 1),
            ("keep_last", "0 or more", self.keep_last >= 0),
            ("mixed", "no without device=cuda", self.device == "cuda" or not self.mixed),
            ("compile", "no without device=cuda", self.device == "cuda" or not self.compile),
        ):
            if not fine:
                raise UsageError(f"option {name}={getattr(self, name)}: it must be {allowed}")
        if self.pad and self.crop != "yes":
            raise UsageError(
                f"option pad={self.pad} requires crop=yes, but crop is {self.crop}; change either"
            )

    @property
    def size(self) -> int:
        """Examples per step: ``k`` times ``batch``, rounded half up."""
        return int(self.batch * self.k + 0.5)

    @property
    def falls_at(self) -> tuple[int, ...]:
        """The epochs in ``steps``."""
        return tuple(int(step) for step in self.steps.split(",")) if self.steps else ()

    @property
    def augments(self) -> bool:
        """Whether training images are augmented."""
        return self.crop != "no" or self.flip or self.brightness > 0 or self.contrast > 0

    def _steps_increase(self) -> bool:
        if self.schedule != "steps":
            return not self.steps
        try:
            falls = self.falls_at
            return bool(falls) and [0, *falls] == sorted({0, *falls})
        except ValueError:
            return False


def rate(options: LabOptions, epoch: int, update: int, updates: int) -> float:
    """Return the learning rate of one step.

    Args:
        options: The settings.
        epoch: Epochs done before this step.
        update: Steps done before this step in its epoch.
        updates: Steps per epoch.

    Source:
        Casper et al. 2021, arXiv:1912.04783, appendix D.  Under ``reference``, as in the code
        published with it, Adam and RMSProp have constant rates: 0.001 and a tenth of ``lr``.

    Example:
        >>> [round(rate(LabOptions(lr=0.1), epoch, 0, 10), 4) for epoch in range(3)]
        [0.1, 0.095, 0.0902]
        >>> rate(LabOptions(lr=0.1, warmup=2), 0, 9, 10)
        0.05
    """
    first = options.lr * options.k
    if options.protocol == "reference" and options.optimiser not in ("momentum", "sgd"):
        return 0.001 if options.optimiser == "adam" else first / 10
    if epoch < options.warmup:
        return first * (epoch * updates + update + 1) / (options.warmup * updates)
    if options.schedule == "exponential":
        return float(first * options.decay ** (epoch // options.every))
    return float(first * 0.1 ** sum(epoch >= fall for fall in options.falls_at))
