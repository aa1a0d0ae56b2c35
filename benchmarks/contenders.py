"""The sides of the quality benchmark: what each is called, and how it writes a thinner file."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from benchmarks import onnxsimside, torchpruningside
from benchmarks.dial import Dial, OutOfReach
from benchmarks.judging import amounts, request
from benchmarks.subjects import Kind, Subject
from frivkit.compression.calibration import Calibration, Run, calibrate
from frivkit.compression.method import Basis, Method, Refit
from frivkit.compression.plan import apply_plan
from frivkit.errors import BudgetError
from frivkit.graph.onnx_io.save import save
from frivkit.graph.sites.site_map import find_sites
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import load_model, named_data
from frivkit.progress import Silent
from frivkit.runtime.shape_probe import infer_shapes_by_running

Write = Callable[[Subject, float, Path], None]
"""Writes the file that a rival makes at a ratio."""

FRIVKIT = {
    "frivkit": Method(),
    "frivkit, refitted once": Method(refit="ridge"),
    "frivkit, no refit": Method(refit="none"),
    "frivkit, both kinds": Method(refit="hybrid"),
    "frivkit, pca": Method(basis="pca"),
    "interpolative decomposition (ours)": Method("select", "cholesky", "ridge", "uniform"),
    "Gram-ridge compensation (ours)": Method("select", "norm", "ridge", "uniform"),
}
"""By what frivkit makes a network thinner, by the name of the side; the last two are our own
implementations of what others published."""

_L2, _WANDA = (partial(onnxsimside.pruned, wanda=wanda) for wanda in (False, True))

RIVALS: dict[str, Write] = {
    "onnxsim L2": partial(_L2, together=False),
    "onnxsim L2, all layers together": partial(_L2, together=True),
    "onnxsim Wanda": partial(_WANDA, together=False),
    **{
        f"Torch-Pruning {importance}": partial(
            torchpruningside.pruned, importance=importance, together=False
        )
        for importance in ("magnitude", "Taylor", "random")
    },
    "Torch-Pruning magnitude, all layers together": partial(
        torchpruningside.pruned, importance="magnitude", together=True
    ),
}

WIDTHS = {
    "Torch-Pruning Taylor": "Torch-Pruning magnitude",
    "Torch-Pruning random": "Torch-Pruning magnitude",
}
"""Sides that leave as many channels at a ratio as another, whose ratio is therefore theirs."""

FEW = 8
"""Examples on which ratios are tried: how many channels leave does not hang on examples."""

REFITTED = {
    "onnxsim L2": "onnxsim L2 + finetune",
    "onnxsim L2, all layers together": "onnxsim L2, all layers together + finetune",
    "onnxsim Wanda": "onnxsim Wanda + finetune",
}


SIDES = (*FRIVKIT, *(name for rival in RIVALS for name in (rival, REFITTED.get(rival)) if name))
"""All sides, in the order of the tables."""


class Absent(Exception):  # noqa: N818  # a finding, and no error
    """A network or budget that a side does not take; the message says why."""


class Contenders:
    """All sides for one subject.

    Args:
        subject: The network.
        folder: Where files are written.

    Attributes:
        whole: What the network costs.
    """

    def __init__(self, subject: Subject, folder: Path) -> None:
        self._subject, self._folder = subject, folder
        self._dials: dict[str, Dial] = {}
        self._bases: dict[tuple[str, str, str], Basis] = {}
        self.whole = amounts(subject, subject.model)

    def write(self, side: str, kind: Kind, level: float) -> Path:
        """Write a side's file under a budget.

        Raises:
            Absent: the side does not take such a network or budget.
            OutOfReach: the side cannot meet the budget.
        """
        path = self._folder / "thin.onnx"
        if side in FRIVKIT:
            if FRIVKIT[side].basis == "pca" and kind == "units":
                raise Absent("no unit leaves")
            self._compress(FRIVKIT[side], kind, level, path)
            return path
        base = next((rival for rival, refitted in REFITTED.items() if refitted == side), side)
        if base.startswith("Torch-Pruning") and self._subject.net is None:
            raise Absent("no torch network")
        ratio = self._dial(WIDTHS.get(base, base)).ratio(kind, level)
        RIVALS[base](self._subject, ratio, path)
        if side in REFITTED.values():
            onnxsimside.refitted(self._subject, path)
        return path

    def _dial(self, rival: str) -> Dial:
        if rival not in self._dials:
            few = replace(self._subject, few=FEW)
            write = partial(RIVALS[rival], few)
            self._dials[rival] = Dial(write, few, self._folder / "tried.onnx")
        return self._dials[rival]

    def _compress(self, method: Method, kind: Kind, level: float, path: Path) -> None:
        """Do what ``frivkit compress`` does, but for its proof, which every side gets alike.

        All budgets are met from one calibration.
        """
        calibration, opened = self._calibration, (method.basis, method.ranking, method.allocation)
        if opened not in self._bases:
            basis_factory = installed().load("bases", method.basis)
            ranker = installed().load("rankings", method.ranking)
            self._bases[opened] = basis_factory(calibration, ranker, method.allocation)
        try:
            plan = self._bases[opened].for_budget(kind, level, 1)
        except BudgetError as error:
            raise OutOfReach(error.least) from None
        refit: Refit = installed().load("refits", method.refit)
        made = replace(plan, fits=refit.fit(calibration, plan))
        save(apply_plan(calibration, made), path, calibration.model)

    @cached_property
    def _calibration(self) -> Calibration:
        asked = request(self._subject)
        model = load_model(asked)
        data, _ = named_data(asked, model)
        model = infer_shapes_by_running(model, asked.device, data)
        output = model.output(None)
        run = Run(data, output, asked.device, asked.memory, asked.seed, Silent())
        return calibrate(model, find_sites(model, None), run)
