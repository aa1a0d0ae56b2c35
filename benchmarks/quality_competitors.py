"""The competitors of the quality benchmark: their names, and how each writes a compressed file."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from benchmarks import onnxsim_competitor, torch_pruning_competitor
from benchmarks.networks import Kind, Subject
from benchmarks.ratio_search import OutOfReach, RatioSearch
from benchmarks.scoring import amounts, request
from frivkit.compression.calibration import Calibration, Run, calibrate
from frivkit.compression.method import Basis, Method, Refit
from frivkit.compression.plan import apply_plan
from frivkit.errors import BudgetError
from frivkit.graph.onnx_io.save import save
from frivkit.graph.sites.site_map import find_sites
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import load_model, named_data
from frivkit.runtime.shape_probe import infer_shapes_by_running

Write = Callable[[Subject, float, Path], None]
"""Writes the file of another tool at a ratio."""

FRIVKIT = {
    "frivkit": Method(),
    "frivkit, refitted once": Method(refit="ridge"),
    "frivkit, no refit": Method(refit="none"),
    "frivkit, both kinds": Method(refit="hybrid"),
    "frivkit, pca": Method(basis="pca"),
    "interpolative decomposition (ours)": Method("select", "cholesky", "ridge", "uniform"),
    "Gram-ridge compensation (ours)": Method("select", "norm", "ridge", "uniform"),
}
"""The methods of frivkit by the name of the competitor; the last two are our own implementations of
published methods of others."""

_L2, _WANDA = (partial(onnxsim_competitor.pruned, wanda=wanda) for wanda in (False, True))

OTHER_TOOLS: dict[str, Write] = {
    "onnxsim L2": partial(_L2, together=False),
    "onnxsim L2, all layers together": partial(_L2, together=True),
    "onnxsim Wanda": partial(_WANDA, together=False),
    **{
        f"Torch-Pruning {importance}": partial(
            torch_pruning_competitor.pruned, importance=importance, together=False
        )
        for importance in ("magnitude", "Taylor", "random")
    },
    "Torch-Pruning magnitude, all layers together": partial(
        torch_pruning_competitor.pruned, importance="magnitude", together=True
    ),
}

WIDTHS = {
    "Torch-Pruning Taylor": "Torch-Pruning magnitude",
    "Torch-Pruning random": "Torch-Pruning magnitude",
}
"""Competitors that keep as many channels at a ratio as another, whose ratio they therefore use."""

FEW = 8
"""Examples on which ratios are tried; they do not influence the number of removed channels."""

REFITTED = {
    "onnxsim L2": "onnxsim L2 + finetune",
    "onnxsim L2, all layers together": "onnxsim L2, all layers together + finetune",
    "onnxsim Wanda": "onnxsim Wanda + finetune",
}


COMPETITORS = (
    *FRIVKIT,
    *(name for rival in OTHER_TOOLS for name in (rival, REFITTED.get(rival)) if name),
)
"""All competitors, in the order of the tables."""


class Absent(Exception):  # noqa: N818  # a finding, and no error
    """A network or budget that a competitor does not accept; the message says why."""


class QualityCompetitors:
    """All competitors for one subject.

    Args:
        subject: The network.
        folder: Where files are written.

    Attributes:
        whole: What the network costs.
    """

    def __init__(self, subject: Subject, folder: Path) -> None:
        self._subject, self._folder = subject, folder
        self._searches: dict[str, RatioSearch] = {}
        self._bases: dict[tuple[str, str, str], Basis] = {}
        self.whole = amounts(subject, subject.model)

    def write(self, side: str, kind: Kind, level: float) -> Path:
        """Write the file of a competitor under a budget.

        Raises:
            Absent: the competitor does not accept such a network or budget.
            OutOfReach: the competitor cannot meet the budget.
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
        ratio = self._search(WIDTHS.get(base, base)).ratio(kind, level)
        OTHER_TOOLS[base](self._subject, ratio, path)
        if side in REFITTED.values():
            onnxsim_competitor.refitted(self._subject, path)
        return path

    def _search(self, rival: str) -> RatioSearch:
        if rival not in self._searches:
            few = replace(self._subject, few=FEW)
            write = partial(OTHER_TOOLS[rival], few)
            self._searches[rival] = RatioSearch(write, few, self._folder / "tried.onnx")
        return self._searches[rival]

    def _compress(self, method: Method, kind: Kind, level: float, path: Path) -> None:
        """Compress as ``frivkit compress`` does; its verification is left to the benchmark.

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
        requested = request(self._subject)
        model = load_model(requested)
        data, _ = named_data(requested, model)
        model = infer_shapes_by_running(model, requested.execution.placement, data)
        output = model.output(None)
        run = Run(data, output, requested.execution)
        return calibrate(model, find_sites(model, None), run)
