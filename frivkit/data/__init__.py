"""Data: examples read lazily in batches, preprocessed, and adapted to the inputs of a model."""

from frivkit.data.arrays import Data, as_dataset
from frivkit.data.dataset import Dataset, open_data
from frivkit.data.source import Array, Batch, DataSource, SourceFactory, TensorSpec, input_columns
from frivkit.data.spec import DataSpec

__all__ = [
    "Array",
    "Batch",
    "Data",
    "DataSource",
    "DataSpec",
    "Dataset",
    "SourceFactory",
    "TensorSpec",
    "as_dataset",
    "input_columns",
    "open_data",
]
