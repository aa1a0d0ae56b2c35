"""One law, one metric, one network, one protocol: what a law runs, and how it says it is broken."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frivkit.cache import Cache
from frivkit.errors import FrivkitError
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.pipeline import Request, open_study
from frivkit.measure.study import Study
from frivkit.runtime.execution import Execution
from frivkit.testing.subjects import Subject

MEMORY = 2 << 30
CaseMeasurements = tuple[Measurement, ...]


class LawError(AssertionError):
    """A plugin breaks a law; the message is one line: law, network, layer, expected and found."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a law is checked on.

    Attributes:
        law: The law's name.
        metric: The metric.
        options: Its options.
        protocol: ``"paper"`` or ``"reference"``.
        subject: The network and data.
        folder: Where files may be written.
    """

    law: str
    metric: Metric[Any]
    options: Any
    protocol: str
    subject: Subject
    folder: Path

    def open(
        self,
        subject: Subject | None = None,
        *,
        seed: int = 0,
        memory: int = MEMORY,
        threads: int = 1,
        cache: Cache | None = None,
    ) -> Study:
        """Write a subject to files of its own, this one by default, and open it as a user would."""
        subject = subject or self.subject
        model, data = subject.write(self.folder / subject.name)
        request = Request(
            model,
            data=f"npz:{data}",
            protocol=self.protocol,
            execution=Execution(memory=memory, threads=threads, seed=seed),
        )
        return open_study(request, cache=cache)[0]

    def measure(self, study: Study) -> CaseMeasurements:
        """Run the metric.

        Raises:
            FrivkitError: the metric declines.
        """
        return tuple(self.metric.measure(study, self.options))

    def again(self, study: Study) -> CaseMeasurements:
        """Run the metric where it has no reason to decline any more.

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
        """Return the error that says where and how the law is broken."""
        where = f"network {self.subject.name}, {self.protocol} protocol"
        return LawError(f"law {self.law} is broken: {where}: {what}")
