"""One metric on one network under one protocol: the case on which a law is checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frivkit.cache import Cache
from frivkit.errors import FrivkitError
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.pipeline import Request, open_study
from frivkit.measure.study import Study
from frivkit.runtime.execution import Execution
from frivkit.testing.networks import LabelledNetwork

MEMORY = 2 << 30
CaseMeasurements = tuple[Measurement, ...]


class LawError(AssertionError):
    """A plugin breaks a law; the message is one line: law, network, layer, expected and found."""


@dataclass(frozen=True, slots=True)
class MetricCase:
    """The case on which a law of metrics is checked.

    Attributes:
        law: The law's name.
        metric: The metric.
        options: Its options.
        protocol: ``"paper"`` or ``"reference"``.
        network: The network and its data.
        folder: A folder for files.
    """

    law: str
    metric: Metric[Any]
    options: Any
    protocol: str
    network: LabelledNetwork
    folder: Path

    def open(
        self,
        network: LabelledNetwork | None = None,
        *,
        seed: int = 0,
        memory: int = MEMORY,
        threads: int = 1,
        cache: Cache | None = None,
    ) -> Study:
        """Write a network, by default that of the case, to files and open it as a user would."""
        network = network or self.network
        model, data = network.write(self.folder / network.name)
        request = Request(
            model,
            data=f"npz:{data}",
            protocol=self.protocol,
            execution=Execution(memory=memory, threads=threads, seed=seed),
        )
        return open_study(request, cache=cache)[0]

    def measure(self, study: Study) -> CaseMeasurements:
        """Return the measurements of the metric.

        Raises:
            FrivkitError: the metric declines.
        """
        return tuple(self.metric.measure(study, self.options))

    def again(self, study: Study) -> CaseMeasurements:
        """Return the measurements of a metric that has measured the network before.

        Raises:
            LawError: it declines.
        """
        try:
            return self.measure(study)
        except FrivkitError as error:
            raise self.broken(
                f"expected measurements as before, found {type(error).__name__}: {error}"
            ) from error

    def broken(self, what: str) -> LawError:
        """Return the error of a broken law: one line with the law, the network and the reason."""
        where = f"network {self.network.name}, {self.protocol} protocol"
        return LawError(f"law {self.law} is broken: {where}: {what}")
