"""The names that plugins are written with, in one place.

``from frivkit.plugin import Offer, hookimpl`` loads nothing but the hooks, so that the module which
makes a plugin's offers stays light.  Every other name is imported from its own module when it is
first used; a type checker sees all of them.

:mod:`frivkit.testing.conformance` has a check for the target of each hook.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from frivkit.hooks.specs import Offer, hookimpl

if TYPE_CHECKING:
    from frivkit.compression.calibration import Calibration
    from frivkit.compression.layer_groups import LayerGroup
    from frivkit.compression.linear_consumers import LinearConsumer
    from frivkit.compression.low_rank import Factors
    from frivkit.compression.method import Basis, Fitter, Refit
    from frivkit.compression.moves import BranchMove, Moves, RankMoves, branch_moves, rank_moves
    from frivkit.compression.patch_moments import PatchMoments
    from frivkit.compression.plan import (
        Factorization,
        Plan,
        affected_consumers,
        factorized_fit,
        keep_all,
        keep_weights,
        ridge_fits,
    )
    from frivkit.compression.ranking import Ranker, Ranking, rank_units
    from frivkit.compression.ridge import Fit
    from frivkit.data import (
        Array,
        Batch,
        Dataset,
        DataSource,
        DataSpec,
        SourceFactory,
        TensorSpec,
        input_columns,
    )
    from frivkit.engines.engine import Engine, EngineFactory
    from frivkit.engines.executor import ExecutorEngine
    from frivkit.errors import (
        BudgetError,
        DataError,
        DeviceError,
        FrivkitError,
        ModelError,
        PluginError,
        UsageError,
        unknown_name,
    )
    from frivkit.experiments.figure import Drawing, Figure, FolderFigure
    from frivkit.experiments.gain import Gain, WidthCurve, gain
    from frivkit.experiments.jobs import (
        ExperimentPlanner,
        Job,
        JobResult,
        Row,
        SweepPlan,
        SweepRequest,
    )
    from frivkit.experiments.train import (
        Architecture,
        Trainer,
        TrainingError,
        TrainingRecord,
        accuracy,
        scaled,
    )
    from frivkit.graph.layout import (
        NO_UNIT,
        GroupIds,
        Layout,
        attribute,
        others_constant,
        rank_of,
        shape_of,
    )
    from frivkit.graph.model import Model, Provider, constant_tensor, is_constant, signature
    from frivkit.graph.onnx_io.load import detach, read
    from frivkit.graph.operators.edits import (
        CompensateShape,
        Edit,
        Locked,
        NarrowingRule,
        NodeContext,
        SliceOperand,
        UpdateGroupCount,
        UpdateShape,
        UpdateSplit,
        broadcast,
        require_same_groups,
        unchanged,
    )
    from frivkit.graph.operators.effects import (
        Consumed,
        Coupled,
        Effect,
        Kept,
        PropagationRule,
        Split,
        Untraceable,
    )
    from frivkit.graph.operators.operator import Operator, Operators, Weights
    from frivkit.graph.sites.site_map import Site, SiteMap
    from frivkit.hooks.options import NoOptions
    from frivkit.measure.metric import Measurement, Metric
    from frivkit.measure.pipeline import Request
    from frivkit.measure.study import Study
    from frivkit.measure.unchanged import Unchanged
    from frivkit.progress import Progress
    from frivkit.runtime.execution import Execution
    from frivkit.runtime.labels import LabelOptions
    from frivkit.tasks.classify import SameLabels
    from frivkit.tasks.task import (
        Claim,
        Comparer,
        Evidence,
        Figures,
        JoinedTensor,
        ModelOutput,
        Task,
    )
    from frivkit.units.masks import Mask, keep_mask, random_order
    from frivkit.units.moments import Moments, merged
    from frivkit.units.perturbations import (
        LinearReplacement,
        Noise,
        Perturbation,
        WeightKnockout,
        WeightNoise,
    )
    from frivkit.units.selector import UnitSelector

__all__ = [
    "NO_UNIT",
    "Architecture",
    "Array",
    "Basis",
    "Batch",
    "BranchMove",
    "BudgetError",
    "Calibration",
    "Claim",
    "Comparer",
    "CompensateShape",
    "Consumed",
    "Coupled",
    "DataError",
    "DataSource",
    "DataSpec",
    "Dataset",
    "DeviceError",
    "Drawing",
    "Edit",
    "Effect",
    "Engine",
    "EngineFactory",
    "Evidence",
    "Execution",
    "ExecutorEngine",
    "ExperimentPlanner",
    "Factorization",
    "Factors",
    "Figure",
    "Figures",
    "Fit",
    "Fitter",
    "FolderFigure",
    "FrivkitError",
    "Gain",
    "GroupIds",
    "Job",
    "JobResult",
    "JoinedTensor",
    "Kept",
    "LabelOptions",
    "LayerGroup",
    "Layout",
    "LinearConsumer",
    "LinearReplacement",
    "Locked",
    "Mask",
    "Measurement",
    "Metric",
    "Model",
    "ModelError",
    "ModelOutput",
    "Moments",
    "Moves",
    "NarrowingRule",
    "NoOptions",
    "NodeContext",
    "Noise",
    "Offer",
    "Operator",
    "Operators",
    "PatchMoments",
    "Perturbation",
    "Plan",
    "PluginError",
    "Progress",
    "PropagationRule",
    "Provider",
    "RankMoves",
    "Ranker",
    "Ranking",
    "Refit",
    "Request",
    "Row",
    "SameLabels",
    "Site",
    "SiteMap",
    "SliceOperand",
    "SourceFactory",
    "Split",
    "Study",
    "SweepPlan",
    "SweepRequest",
    "Task",
    "TensorSpec",
    "Trainer",
    "TrainingError",
    "TrainingRecord",
    "Unchanged",
    "UnitSelector",
    "Untraceable",
    "UpdateGroupCount",
    "UpdateShape",
    "UpdateSplit",
    "UsageError",
    "WeightKnockout",
    "WeightNoise",
    "Weights",
    "WidthCurve",
    "accuracy",
    "affected_consumers",
    "attribute",
    "branch_moves",
    "broadcast",
    "constant_tensor",
    "detach",
    "factorized_fit",
    "gain",
    "hookimpl",
    "input_columns",
    "is_constant",
    "keep_all",
    "keep_mask",
    "keep_weights",
    "merged",
    "others_constant",
    "random_order",
    "rank_moves",
    "rank_of",
    "rank_units",
    "read",
    "require_same_groups",
    "ridge_fits",
    "scaled",
    "shape_of",
    "signature",
    "unchanged",
    "unknown_name",
]

_MODULES = {
    "frivkit.compression.calibration": "Calibration",
    "frivkit.compression.layer_groups": "LayerGroup",
    "frivkit.compression.linear_consumers": "LinearConsumer",
    "frivkit.compression.low_rank": "Factors",
    "frivkit.compression.method": "Basis Fitter Refit",
    "frivkit.compression.moves": "BranchMove Moves RankMoves branch_moves rank_moves",
    "frivkit.compression.patch_moments": "PatchMoments",
    "frivkit.compression.plan": (
        "Factorization Plan affected_consumers factorized_fit keep_all keep_weights ridge_fits"
    ),
    "frivkit.compression.ranking": "Ranker Ranking rank_units",
    "frivkit.compression.ridge": "Fit",
    "frivkit.data": (
        "Array Batch DataSource DataSpec Dataset SourceFactory TensorSpec input_columns"
    ),
    "frivkit.errors": (
        "BudgetError DataError DeviceError FrivkitError ModelError PluginError UsageError "
        "unknown_name"
    ),
    "frivkit.experiments.figure": "Drawing Figure FolderFigure",
    "frivkit.experiments.gain": "Gain WidthCurve gain",
    "frivkit.experiments.jobs": "ExperimentPlanner Job JobResult Row SweepPlan SweepRequest",
    "frivkit.experiments.train": (
        "Architecture Trainer TrainingError TrainingRecord accuracy scaled"
    ),
    "frivkit.graph.layout": "NO_UNIT GroupIds Layout attribute others_constant rank_of shape_of",
    "frivkit.graph.model": "Model Provider constant_tensor is_constant signature",
    "frivkit.graph.onnx_io.load": "detach read",
    "frivkit.graph.operators.edits": (
        "CompensateShape Edit Locked NarrowingRule NodeContext SliceOperand UpdateGroupCount "
        "UpdateShape UpdateSplit broadcast require_same_groups unchanged"
    ),
    "frivkit.graph.operators.effects": (
        "Consumed Coupled Effect Kept PropagationRule Split Untraceable"
    ),
    "frivkit.graph.operators.operator": "Operator Operators Weights",
    "frivkit.graph.sites.site_map": "Site SiteMap",
    "frivkit.hooks.options": "NoOptions",
    "frivkit.measure.metric": "Measurement Metric",
    "frivkit.measure.pipeline": "Request",
    "frivkit.measure.study": "Study",
    "frivkit.measure.unchanged": "Unchanged",
    "frivkit.progress": "Progress",
    "frivkit.runtime.execution": "Execution",
    "frivkit.runtime.labels": "LabelOptions",
    "frivkit.engines.engine": "Engine EngineFactory",
    "frivkit.engines.executor": "ExecutorEngine",
    "frivkit.tasks.classify": "SameLabels",
    "frivkit.tasks.task": "Claim Comparer Evidence Figures ModelOutput JoinedTensor Task",
    "frivkit.units.masks": "Mask keep_mask random_order",
    "frivkit.units.moments": "Moments merged",
    "frivkit.units.perturbations": (
        "LinearReplacement Noise Perturbation WeightKnockout WeightNoise"
    ),
    "frivkit.units.selector": "UnitSelector",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a name from its module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'frivkit.plugin' has no attribute {name!r}")
    found = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
