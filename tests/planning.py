"""Models that are calibrated, and plans of any width for them."""

from pathlib import Path

from frivkit.compression.allocation import Allocation, Allocator
from frivkit.compression.calibration import Calibration, Run, calibrate
from frivkit.compression.constraints import Constraints
from frivkit.compression.method import Basis, Method
from frivkit.compression.ranking import Ranker
from frivkit.data import open_data
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request, load_model
from frivkit.runtime.execution import Execution
from frivkit_compressors.bases import select
from frivkit_compressors.rankings import backward

ANY_WIDTH = Constraints(round_to=1)
SELECT = Method(basis="select")


def calibrated(model: Model | Path, spec: str, memory: int = 1 << 28) -> Calibration:
    """Return a model, opened or a file, with its statistics on data."""
    opened = load_model(Request(model)) if isinstance(model, Path) else model
    data = open_data(spec, opened.inputs)
    run = Run(data, opened.output(None), Execution(memory=memory, threads=1))
    return calibrate(opened, find_sites(opened), run)


def allocator(
    calibration: Calibration,
    basis: Basis = select,
    allocation: Allocation = "global",
    *,
    ranker: Ranker = backward,
    constraints: Constraints = ANY_WIDTH,
) -> Allocator:
    """Return the allocator over the moves of a basis; layers may keep any width."""
    return Allocator(calibration, basis(calibration, ranker), allocation, constraints)
