"""frivkit: how much of a trained network is frivolous, and how to take it out.

Importing this package is cheap on purpose: no numpy, torch, onnxruntime, scikit-learn or h5py is
loaded until a function needs it.

Each command of the command line is a function here: :func:`frivkit.load`, :func:`frivkit.inspect`,
:func:`frivkit.analyze`, :func:`frivkit.compress`, :func:`frivkit.frontier`,
:func:`frivkit.verify`, :func:`frivkit.activations`, :func:`frivkit.advise`,
:func:`frivkit.compare` and :func:`frivkit.train`.  :func:`frivkit.to_torch` gives a model as a
torch module, and :func:`frivkit.save` writes one.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frivkit.api import (
        ActivationsResult,
        AdviceResult,
        AnalysisResult,
        ComparisonResult,
        CompressionResult,
        FrontierResult,
        InspectionResult,
        TrainingResult,
        VerificationResult,
        activations,
        advise,
        analyze,
        compare,
        compress,
        frontier,
        inspect,
        load,
        save,
        to_torch,
        train,
        verify,
    )

__version__ = "0.1.0"
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
    "__version__",
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


def __getattr__(name: str) -> Any:
    if name in __all__:
        from frivkit import api

        return getattr(api, name)
    raise AttributeError(f"module 'frivkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
