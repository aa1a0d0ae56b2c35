"""One way to make one network thinner: what the laws of compression run, and how they complain."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration, Run, calibrate
from frivkit.compression.method import Basis, BasisFactory, Ranker, Refit
from frivkit.compression.plan import Plan, apply_plan
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request, load_model, named_data
from frivkit.runtime.execution import Execution
from frivkit.runtime.opening import Opening, prepare_model
from frivkit.runtime.session import Device, Session
from frivkit.testing.laws.case import MEMORY, LawError
from frivkit.testing.subjects import Subject


@dataclass(frozen=True, slots=True)
class Compressor:
    """A basis, a ranking and a refit, registered or not."""

    basis_factory: BasisFactory
    ranker: Ranker
    refit: Refit


@dataclass(frozen=True, slots=True)
class Thinning:
    """What a law of compression is checked on.

    Attributes:
        law: The law's name.
        compressor: The way to make models thinner.
        subject: The network and data.
        folder: Where files may be written.
    """

    law: str
    compressor: Compressor
    subject: Subject
    folder: Path

    def calibrated(self, seed: int = 0) -> Calibration:
        """Write the subject to files of its own and calibrate on all of its data."""
        file, data = self.subject.write(self.folder / self.subject.name)
        execution = Execution(memory=MEMORY, threads=1, seed=seed)
        request = Request(file, data=f"npz:{data}", execution=execution)
        model = load_model(request)
        examples, _ = named_data(request, model)
        model = prepare_model(model, Opening(execution, examples), keep_file=True)
        run = Run(examples, model.output(None), execution)
        return calibrate(model, find_sites(model), run)

    def basis(self, calibration: Calibration) -> Basis:
        """Open the basis."""
        return self.compressor.basis_factory(calibration, self.compressor.ranker, "global")

    def refitted(self, calibration: Calibration, plan: Plan) -> Plan:
        """Add the fits to a plan."""
        return replace(plan, fits=self.compressor.refit.fit(calibration, plan))

    def outputs(self, graph: ir.Model) -> NDArray[np.float32]:
        """Run a graph on the subject's examples."""
        session = Session(graph, Device(threads=1))
        found: NDArray[np.float32] = session.run({"x": self.subject.x}, ["y"])[0]
        return found

    def apart(self, calibration: Calibration, plan: Plan) -> float:
        """Return the distance of the thinner outputs from the original's, relative to these."""
        before = self.outputs(calibration.model.ir)
        after = self.outputs(apply_plan(calibration, plan))
        return float(np.abs(after - before).max() / max(1.0, np.abs(before).max()))

    def broken(self, what: str) -> LawError:
        """Return the error that says where and how the law is broken."""
        return LawError(f"law {self.law} is broken: network {self.subject.name}: {what}")
