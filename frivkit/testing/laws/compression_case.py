"""One basis, ranking and refit on one network: the case on which a law is checked."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.allocation import Allocator
from frivkit.compression.calibration import Calibration, Run, calibrate
from frivkit.compression.constraints import Constraints
from frivkit.compression.method import Basis, Refit
from frivkit.compression.plan import Plan, apply_plan
from frivkit.compression.ranking import Ranker
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request, load_model, named_data
from frivkit.runtime.execution import Execution
from frivkit.runtime.opening import Opening, prepare_model
from frivkit.runtime.session import Device, Session
from frivkit.testing.laws.metric_case import MEMORY, LawError
from frivkit.testing.networks import LabelledNetwork


@dataclass(frozen=True, slots=True)
class CompressionParts:
    """A basis, a ranking and a refit, registered or not."""

    basis: Basis
    ranker: Ranker
    refit: Refit


@dataclass(frozen=True, slots=True)
class CompressionCase:
    """The case on which a law of compression is checked.

    Attributes:
        law: The law's name.
        parts: The basis, the ranking and the refit.
        network: The network and its data.
        folder: A folder for files.
    """

    law: str
    parts: CompressionParts
    network: LabelledNetwork
    folder: Path

    def calibrate(self, seed: int = 0) -> Calibration:
        """Write the network and its data to files and calibrate on all examples."""
        file, data = self.network.write(self.folder / self.network.name)
        execution = Execution(memory=MEMORY, threads=1, seed=seed)
        request = Request(file, data=f"npz:{data}", execution=execution)
        model = load_model(request)
        examples, _ = named_data(request, model)
        model = prepare_model(model, Opening(execution, examples), keep_file=True)
        run = Run(examples, model.output(None), execution)
        return calibrate(model, find_sites(model), run)

    def allocator(
        self, calibration: Calibration, constraints: Constraints | None = None
    ) -> Allocator:
        """Return the allocator over the moves of the basis.

        Args:
            calibration: The model and its statistics.
            constraints: What plans must keep to; None lets them use every width.
        """
        moves = self.parts.basis(calibration, self.parts.ranker)
        constraints = constraints or Constraints(round_to=1)
        return Allocator(calibration, moves, constraints=constraints)

    def refit_plan(self, calibration: Calibration, plan: Plan) -> Plan:
        """Return a plan with the fits of the refit."""
        return self.parts.refit.refitted(calibration, plan)

    def outputs(self, graph: ir.Model) -> NDArray[np.float32]:
        """Return the outputs of a graph for all examples, shape (n, classes)."""
        session = Session(graph, Device(threads=1))
        outputs: NDArray[np.float32] = session.run({"x": self.network.x}, ["y"])[0]
        return outputs

    def distance(self, calibration: Calibration, plan: Plan) -> float:
        """Return the distance of the compressed outputs from the original's, relative to these."""
        before = self.outputs(calibration.model.ir)
        after = self.outputs(apply_plan(calibration, plan))
        return float(np.abs(after - before).max() / max(1.0, np.abs(before).max()))

    def broken(self, what: str) -> LawError:
        """Return the error of a broken law: one line with the law, the network and the reason."""
        return LawError(f"law {self.law} is broken: network {self.network.name}: {what}")
