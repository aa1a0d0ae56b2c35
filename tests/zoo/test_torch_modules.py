"""Networks as torch modules: outputs beside ONNX Runtime, gradients beside finite differences.

A share of what ``python -m tests.zoo.torch_modules`` runs, each network by one exporter.
"""

import pytest
import torch

import frivkit
from tests.zoo.files import EXPORTERS, UNWRITTEN, ZOO
from tests.zoo.packaged import PACKAGED
from tests.zoo.torch_modules import PAGE, measured

SHARE = ("ccexam mnist", "facenet R-Net", "magika", "Silero VAD, sequence")
TABLE = PAGE.read_text()


def exporter_of(name: str) -> str:
    """Return one exporter of a network, so that all have a third of the networks."""
    written = [exporter for exporter in EXPORTERS if (name, exporter) not in UNWRITTEN]
    return written[list(ZOO).index(name) % len(written)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_network_and_its_gradient_are_those_of_the_file(name, zoo_file):
    exporter = exporter_of(name)
    row = measured(frivkit.load(zoo_file(name, exporter)))
    assert row.apart < 1e-5
    assert row.kind is torch.float64
    assert row.gradient < 1e-5
    found = [line for line in TABLE.splitlines() if line.startswith(f"| {name} |")]
    (line,) = [line for line in found if exporter in line.split("|")[2]]
    assert row.counts in line, "run: python -m tests.zoo.torch_modules"


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("name", SHARE)
def test_network_of_a_package_is_that_of_the_file(name, tmp_path):
    known = PACKAGED[name]
    row = measured(frivkit.load(known.file(tmp_path), input_shape=known.shape))
    assert row.apart < 1e-5
    assert row.gradient < 1e-5
    (line,) = [line for line in TABLE.splitlines() if line.startswith(f"| {name} |")]
    assert row.counts in line, "run: python -m tests.zoo.torch_modules"


def test_the_page_has_a_row_for_each_network():
    rows = [line.split(" | ") for line in TABLE.splitlines() if line.startswith("| ")]
    names = {cells[0].removeprefix("| ") for cells in rows}
    assert {*ZOO, *PACKAGED} <= names
    for name in ZOO:
        exporters = [
            part for cells in rows if cells[0] == f"| {name}" for part in cells[1].split(", ")
        ]
        assert exporters == [each for each in EXPORTERS if (name, each) not in UNWRITTEN]
