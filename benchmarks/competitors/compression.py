"""The competitors in quality: their names, and how each writes a compressed file."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.competitors import onnxsim_pruning, torch_pruners
from benchmarks.competitors.ratio_search import OutOfReach, RatioSearch
from benchmarks.measuring.scoring import amounts, request
from benchmarks.networks.trained import Kind, Network
from frivkit.compression.allocation import Allocator
from frivkit.compression.calibration import Calibration, Run, calibrate
from frivkit.compression.constraints import Constraints
from frivkit.compression.method import Basis, Method, Refit
from frivkit.compression.plan import apply_plan
from frivkit.compression.ranking import Ranker
from frivkit.errors import BudgetError
from frivkit.graph.onnx_io.save import save
from frivkit.graph.sites.site_map import find_sites
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import load_model, named_data
from frivkit.runtime.shape_probe import infer_shapes_by_running

Write = Callable[[Network, float, Path], None]
"""A function that writes the file of a pruner at a ratio."""

FRIVKIT = {
    "frivkit": Method(),
    "frivkit, refitted once": Method(refit="ridge"),
    "frivkit, no refit": Method(refit="none"),
    "frivkit, both kinds": Method(refit="hybrid"),
    "frivkit, pca": Method(basis="pca"),
    "interpolative decomposition (ours)": Method("select", "cholesky", "ridge", "uniform"),
    "Gram-ridge compensation (ours)": Method("select", "norm", "ridge", "uniform"),
}
"""The methods of frivkit, by the name of the competitor.

The last two are our own implementations of methods that others published.
"""

_L2, _WANDA = (partial(onnxsim_pruning.prune, wanda=wanda) for wanda in (False, True))

PRUNERS: dict[str, Write] = {
    "onnxsim L2": partial(_L2, together=False),
    "onnxsim L2, all layers together": partial(_L2, together=True),
    "onnxsim Wanda": partial(_WANDA, together=False),
    **{
        f"Torch-Pruning {importance}": partial(
            torch_pruners.prune, importance=importance, together=False
        )
        for importance in ("magnitude", "Taylor", "random")
    },
    "Torch-Pruning magnitude, all layers together": partial(
        torch_pruners.prune, importance="magnitude", together=True
    ),
}

SAME_WIDTHS = {
    "Torch-Pruning Taylor": "Torch-Pruning magnitude",
    "Torch-Pruning random": "Torch-Pruning magnitude",
}
"""Competitors that keep as many channels at a ratio as another one, whose ratio they use."""

FEW = 8
"""Examples in the search for a ratio: the number of removed channels does not depend on them."""

REFITTED = {
    "onnxsim L2": "onnxsim L2 + finetune",
    "onnxsim L2, all layers together": "onnxsim L2, all layers together + finetune",
    "onnxsim Wanda": "onnxsim Wanda + finetune",
}


COMPETITORS = (
    *FRIVKIT,
    *(name for pruner in PRUNERS for name in (pruner, REFITTED.get(pruner)) if name),
)
"""All competitors, in the order of the tables."""


def check_packages() -> None:
    """Raise an error if a package of a competitor is missing, which would look like its result.

    Raises:
        SystemExit: one is.
    """
    missing = [name for name in ("onnxsim", "torch_pruning") if find_spec(name) is None]
    if missing:
        raise SystemExit(f"{', '.join(missing)} cannot be imported; run: make bench")


class Absent(Exception):  # noqa: N818  # a finding, and no error
    """A network or budget that a competitor does not support; the message is the reason."""


class Competitors:
    """All competitors for one network.

    Args:
        network: The network.
        folder: The folder of files.

    Attributes:
        whole: The amounts of the network.
    """

    def __init__(self, network: Network, folder: Path) -> None:
        self._network, self._folder = network, folder
        self._searches: dict[str, RatioSearch] = {}
        self._allocators: dict[tuple[str, str, str], Allocator] = {}
        self.whole = amounts(network, network.model)

    def write(self, competitor: str, kind: Kind, level: float) -> Path:
        """Write the file of a competitor under a budget, and return its path.

        Raises:
            Absent: the competitor does not support such a network or budget.
            OutOfReach: the competitor cannot meet the budget.
        """
        path = self._folder / "thin.onnx"
        if competitor in FRIVKIT:
            if FRIVKIT[competitor].basis == "pca" and kind == "units":
                raise Absent("no unit leaves")
            self._compress(FRIVKIT[competitor], kind, level, path)
            return path
        without_refit = {with_refit: pruner for pruner, with_refit in REFITTED.items()}
        base = without_refit.get(competitor, competitor)
        if base.startswith("Torch-Pruning") and self._network.net is None:
            raise Absent("no torch network")
        ratio = self._search(SAME_WIDTHS.get(base, base)).ratio(kind, level)
        PRUNERS[base](self._network, ratio, path)
        if competitor in without_refit:
            onnxsim_pruning.refit(self._network, path)
        return path

    def _search(self, pruner: str) -> RatioSearch:
        if pruner not in self._searches:
            few = replace(self._network, few=FEW)
            write = partial(PRUNERS[pruner], few)
            self._searches[pruner] = RatioSearch(write, few, self._folder / "tried.onnx")
        return self._searches[pruner]

    def _compress(self, method: Method, kind: Kind, level: float, path: Path) -> None:
        """Compress as ``frivkit compress`` does, without its verification.

        All budgets use one calibration.
        """
        calibration, key = self._calibration, (method.basis, method.ranking, method.allocation)
        if key not in self._allocators:
            basis: Basis = installed().load("bases", method.basis)
            ranker: Ranker = installed().load("rankings", method.ranking)
            moves = basis(calibration, ranker)
            # Methods that others published know no widths at which kernels are fast.
            widths = Constraints(round_to=1) if method.allocation == "uniform" else Constraints()
            self._allocators[key] = Allocator(calibration, moves, method.allocation, widths)
        try:
            plan = self._allocators[key].for_budget(kind, level)
        except BudgetError as error:
            raise OutOfReach(error.least) from None
        refit: Refit = installed().load("refits", method.refit)
        fitted = replace(plan, fits=refit.fit(calibration, plan))
        save(apply_plan(calibration, fitted), path, calibration.model)

    @cached_property
    def _calibration(self) -> Calibration:
        requested = request(self._network)
        model = load_model(requested)
        data, _ = named_data(requested, model)
        model = infer_shapes_by_running(model, requested.execution.placement, data)
        run = Run(data, model.output(None), requested.execution)
        return calibrate(model, find_sites(model, None), run)
