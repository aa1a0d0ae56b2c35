"""The laws of metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frivkit.errors import DataError, ModelError, UsageError
from frivkit.hooks.options import parse_options
from frivkit.measure.metric import Metric
from frivkit.measure.scope import PROTOCOLS
from frivkit.testing.laws import metric_rules as rules
from frivkit.testing.laws.metric_case import CaseMeasurements, LawError, MetricCase
from frivkit.testing.networks import LabelledNetwork, small_cnn, small_mlp, tiny


@dataclass(frozen=True, slots=True)
class MetricLaw:
    """One rule that every metric keeps.

    Attributes:
        name: Lower-case words with hyphens.
        statement: The law in a sentence.
        networks: The networks on which it is checked.
        rule: Checks one case, given the measurements of the case's own network.
        protocols: The protocols under which it holds.
    """

    name: str
    statement: str
    networks: tuple[Callable[[], LabelledNetwork], ...]
    rule: Callable[[MetricCase, CaseMeasurements], None]
    protocols: tuple[str, ...] = PROTOCOLS

    def check(
        self, metric: Metric[Any], folder: Path, options: object | None = None
    ) -> tuple[str, ...]:
        """Check the law for a metric, on every network and under every protocol it accepts.

        Args:
            metric: The metric; it need not be registered.
            folder: A folder for files, such as pytest's ``tmp_path``.
            options: An instance of ``metric.options``, for example with fewer repeats; None takes
                the defaults.

        Returns:
            The network and the protocol of each case that was checked.

        Raises:
            LawError: the metric breaks the law, or declines every network (raises DataError,
                ModelError or UsageError), so that nothing could be checked.

        Example:
            >>> import tempfile
            >>> from frivkit.measure.metric import Measurement
            >>> def measure(study, options):
            ...     labels = study.labels()
            ...     yield Measurement("ones", "network", None, float((labels == 1).mean()), 50)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     METRIC_LAWS[0].check(Metric(measure), Path(folder))
            ('mlp, paper protocol', 'cnn, paper protocol', 'residual, paper protocol')
        """
        given = parse_options(metric.options, {}) if options is None else options
        checked = []
        declined: Exception | None = None
        for make in self.networks:
            for protocol in self.protocols:
                network = make()
                case = MetricCase(self.name, metric, given, protocol, network, folder)
                try:
                    plain = case.measure(case.open())
                except (DataError, ModelError, UsageError) as error:
                    declined = error
                    continue
                if not plain:
                    raise case.broken("expected measurements, found none")
                self.rule(case, plain)
                checked.append(f"{network.name}, {protocol} protocol")
        if not checked:
            raise LawError(
                f"law {self.name} could not be checked: the metric declines every network: "
                f"{declined}"
            ) from declined
        return tuple(checked)


METRIC_LAWS: tuple[MetricLaw, ...] = (
    MetricLaw(
        "example-order",
        "The order of the examples changes no value.",
        (small_mlp, small_cnn, lambda: tiny("residual")),
        rules.order,
        ("paper",),
    ),
    MetricLaw(
        "parts-make-the-whole",
        "The number of examples that fit into memory at once changes nothing.",
        (small_cnn,),
        rules.parts,
    ),
    MetricLaw(
        "unit-order",
        "The order of a layer's units changes only the order of their values.",
        (small_cnn,),
        rules.permutation,
    ),
    MetricLaw(
        "dead-units",
        "Units that are off or never change give no NaN and no error.",
        (small_cnn, lambda: tiny("own_classes")),
        rules.dead,
    ),
    MetricLaw(
        "ones-mask",
        "Multiplying every unit by one changes no measurement.",
        (small_cnn, lambda: tiny("residual")),
        rules.mask,
    ),
    MetricLaw(
        "model-unchanged",
        "The model's file, the files beside it and the model in memory stay as they are.",
        (small_cnn,),
        rules.file,
    ),
    MetricLaw(
        "seed",
        "One seed gives one result, with or without a cache, whatever the number of threads.",
        (small_cnn,),
        rules.seed,
    ),
)
"""The laws of every metric.

``example-order`` does not hold under the reference protocol, which takes the first examples and
draws rows by their number, as the published code does.  Intervals may rest on runs of
consecutive examples, so neither it nor ``parts-make-the-whole`` compares them.  For metrics that
draw at random see :func:`frivkit.testing.laws.compare.same_but_for_drawing`.
"""

REDUNDANCY_LAWS: tuple[MetricLaw, ...] = (
    MetricLaw(
        "copied-units",
        "With a copy of one unit no fewer units are redundant; with a copy of each, half of them.",
        (small_mlp, small_cnn),
        rules.copies,
    ),
)
"""Further laws, for metrics whose value is the share of units that others can replace.

Other metrics need not keep them: a copy of a unit that is unlike all others makes units less alike
on average, and two copies that share weights are both needed if single units are ablated.
"""
