"""The data source keeps the rules of data sources, and gives the examples that it should."""

import numpy as np
import pytest
from frivkit.data import Dataset, DataSpec
from frivkit.errors import UsageError
from frivkit.testing.conformance import check_data_source

from frivkit_mine.source import halves


def test_source_conforms():
    check_data_source(halves, "its-name?n=8")


def test_source_gives_examples():
    spec = DataSpec.parse("its-name?n=8&scale=2")
    data = Dataset(spec, halves(spec, ()))
    assert data.examples == 8
    assert (data.read(2, 5).inputs["x"] == np.ones((3, 4))).all()


def test_source_takes_no_path():
    with pytest.raises(UsageError, match="takes no path"):
        halves(DataSpec.parse("its-name:somewhere"), ())
