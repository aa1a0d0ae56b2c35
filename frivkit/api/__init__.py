"""What ``import frivkit`` offers: a function for each command, and the results they return."""

from frivkit.api.advising import AdviceResult, advise
from frivkit.api.commands import activations, analyze, inspect, load, train, verify
from frivkit.api.comparing import ComparisonResult, compare
from frivkit.api.compressions import compress
from frivkit.api.frontiers import FrontierResult, frontier
from frivkit.api.results import (
    ActivationsResult,
    AnalysisResult,
    CompressionResult,
    InspectionResult,
    TrainingResult,
    VerificationResult,
)
from frivkit.api.torch_modules import save, to_torch

__all__ = [
    "ActivationsResult",
    "AdviceResult",
    "AnalysisResult",
    "ComparisonResult",
    "CompressionResult",
    "FrontierResult",
    "InspectionResult",
    "TrainingResult",
    "VerificationResult",
    "activations",
    "advise",
    "analyze",
    "compare",
    "compress",
    "frontier",
    "inspect",
    "load",
    "save",
    "to_torch",
    "train",
    "verify",
]
