"""What ``import frivkit`` offers: a function for each command, and the results they return."""

from frivkit.api.advising import AdviceResult, advise
from frivkit.api.commands import activations, analyze, compress, inspect, load, train, verify
from frivkit.api.results import (
    ActivationsResult,
    AnalysisResult,
    CompressionResult,
    InspectionResult,
    TrainingResult,
    VerificationResult,
)

__all__ = [
    "ActivationsResult",
    "AdviceResult",
    "AnalysisResult",
    "CompressionResult",
    "InspectionResult",
    "TrainingResult",
    "VerificationResult",
    "activations",
    "advise",
    "analyze",
    "compress",
    "inspect",
    "load",
    "train",
    "verify",
]
