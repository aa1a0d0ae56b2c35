"""One check for the targets of each hook, for the tests of plugin authors.

A check takes a target, registered or not, tries it, and raises
:class:`~frivkit.testing.laws.LawError` with one line that names the broken rule::

    from frivkit.testing.conformance import check_unit_selector
    from my_plugin.pairs import PAIRS

    def test_my_unit_selector():
        check_unit_selector(PAIRS)

Metrics, bases, rankings and refits are checked by the laws of :mod:`frivkit.testing.laws`.  Nothing
here needs pytest or the network.
"""

from collections.abc import Callable, Mapping
from typing import Any

from frivkit.testing.conformance.commands import check_cli_command
from frivkit.testing.conformance.compressors import (
    check_basis,
    check_metric,
    check_ranking,
    check_refit,
)
from frivkit.testing.conformance.engines import check_engine
from frivkit.testing.conformance.operator_example import OperatorExample
from frivkit.testing.conformance.operators import check_operator, check_operator_rules
from frivkit.testing.conformance.plugins import check_plugin
from frivkit.testing.conformance.providers import check_model_provider
from frivkit.testing.conformance.selectors import check_unit_selector
from frivkit.testing.conformance.sources import check_data_source
from frivkit.testing.conformance.sweeps import check_figure, check_planner, check_recipe
from frivkit.testing.conformance.tasks import check_task
from frivkit.testing.conformance.training import check_architecture, check_trainer
from frivkit.testing.laws.metric_case import LawError

CHECKS: Mapping[str, Callable[..., Any]] = {
    "model_providers": check_model_provider,
    "operator_rules": check_operator_rules,
    "data_sources": check_data_source,
    "unit_selectors": check_unit_selector,
    "metrics": check_metric,
    "tasks": check_task,
    "bases": check_basis,
    "rankings": check_ranking,
    "refits": check_refit,
    "architectures": check_architecture,
    "trainers": check_trainer,
    "planners": check_planner,
    "recipes": check_recipe,
    "figures": check_figure,
    "engines": check_engine,
    "cli_commands": check_cli_command,
}
"""The check of each hook; its first argument is the target of an offer."""

__all__ = [
    "CHECKS",
    "LawError",
    "OperatorExample",
    "check_architecture",
    "check_basis",
    "check_cli_command",
    "check_data_source",
    "check_engine",
    "check_figure",
    "check_metric",
    "check_model_provider",
    "check_operator",
    "check_operator_rules",
    "check_planner",
    "check_plugin",
    "check_ranking",
    "check_recipe",
    "check_refit",
    "check_task",
    "check_trainer",
    "check_unit_selector",
]
