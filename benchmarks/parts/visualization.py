"""Processor time of images of units, beside a plain loop in torch over the same steps.

One thread works, and its processor time is measured, so that other programs on the machine have
less of an influence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measuring.rounds import ratio
from benchmarks.networks.timed import Case, resnet18
from frivkit.measure.pipeline import Request, open_study
from frivkit.progress import Silent
from frivkit.runtime.execution import Execution
from frivkit.torch_io.threads import torch_threads
from frivkit_featurevis.ascent import RATE, STEPS
from frivkit_featurevis.render import Settings, chosen_units, render

THREADS = 1
UNITS = 8
"""Units of a layer whose images are found at once."""
LAYERS = {"block128_1": "block128_1.conv2", "block512_1": "block512_1.conv2"}
"""By the name of a block in torch, the layer at its end."""
TIMED_STEPS = {64: 16, 224: 2}
"""By side of the images in pixels, the steps that are timed; they are scaled to those of the
command."""


def measure(folder: Path, rounds: int, *, small: bool = False) -> list[dict[str, Any]]:
    """Time images of eight units at the middle and at the end of a ResNet-18, at two sizes.

    Args:
        folder: The folder of files.
        rounds: Rounds, in each of which frivkit and the plain loop take turns.
        small: Whether to time small images only, with few steps.

    Returns:
        For each size and layer the seconds of a step by competitor, the seconds of frivkit before
        the first step, and units a minute.
    """
    sizes = {16: 2} if small else TIMED_STEPS
    with torch_threads(THREADS):
        return [
            _time(resnet18(folder, side, UNITS), side, block, steps, rounds)
            for side, steps in sizes.items()
            for block in LAYERS
        ]


@dataclass(slots=True)
class _Clock(Silent):
    """The processor time at the end of each step, as progress that is told of them."""

    times: list[float] = field(default_factory=list)

    def advance(self, steps: int = 1) -> None:
        """Keep the time."""
        del steps
        self.times.append(process_time())


def _time(case: Case, side: int, block: str, steps: int, rounds: int) -> dict[str, Any]:
    clock = _Clock()
    execution = Execution(threads=THREADS, progress=clock)
    layers = (LAYERS[block],)
    request = Request(model=case.model, data=case.data, layers=layers, execution=execution)
    study, _ = open_study(request)
    (site,) = study.sites
    settings = Settings(units=UNITS, steps=1 + steps)  # the first one is slower than the others
    units = chosen_units(site, settings)
    part = _until(case.net, block)
    seconds: dict[str, list[float]] = {"frivkit": [], "plain": [], "start": []}
    for _ in range(rounds):
        clock.times = []
        begin = process_time()
        list(render(study, settings))
        each = (clock.times[-1] - clock.times[0]) / steps
        seconds["frivkit"].append(each)
        seconds["start"].append(clock.times[0] - begin - each)
        clock.times = []
        plain_ascent(part, units, (3, side, side), 1 + steps, clock.advance)
        seconds["plain"].append((clock.times[-1] - clock.times[0]) / steps)
    middle = {name: median(values) for name, values in seconds.items()}
    whole = {
        "frivkit": middle["start"] + STEPS * middle["frivkit"],
        "plain": STEPS * middle["plain"],
    }
    return {
        "side": side,
        "layer": LAYERS[block],
        "units": UNITS,
        "steps": STEPS,
        "seconds": seconds,
        "units_a_minute": {name: 60 * UNITS / spent for name, spent in whole.items()},
        "to_plain": ratio(seconds["frivkit"], seconds["plain"]),
    }


def plain_ascent(
    part: Callable[[Tensor], Tensor],
    units: Sequence[int],
    shape: tuple[int, ...],
    steps: int,
    stepped: Callable[[], None],
) -> Tensor:
    """Return images of units, found as plainly as possible: pixels are free, and nothing moves.

    Args:
        part: The network up to a layer.
        units: The unit of each image.
        shape: The shape of an image.
        steps: Steps of Adam.
        stepped: Called after each step.
    """
    images = torch.randn(len(units), *shape).requires_grad_()
    optimiser = torch.optim.Adam([images], lr=RATE)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        reached = part(images)[torch.arange(len(units)), list(units)]
        torch.autograd.backward(-reached.mean(dim=(1, 2)).sum())
        optimiser.step()
        stepped()
    return images.detach()


def _until(net: nn.Module, block: str) -> nn.Sequential:
    """Return a network up to the end of a block, with weights that stay as they are."""
    names = [name for name, _ in net.named_children()]
    part = nn.Sequential(*list(net.children())[: names.index(block) + 1])
    return part.requires_grad_(requires_grad=False)
