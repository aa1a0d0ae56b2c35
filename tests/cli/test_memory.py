"""``--memory`` is kept where weights are larger, and what cannot fit is refused at once."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

WIDTH, LAYERS = 4096, 9
MEBIBYTE = 1 << 20
RUN = """
import sys
from pathlib import Path
from frivkit.cli import main
try:
    main()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a network of 576 MiB of weights, all 0, in a file of their own without any block."""
    folder = tmp_path_factory.mktemp("wide")
    size = 4 * WIDTH * WIDTH
    with (folder / "net.bin").open("wb") as file:
        file.truncate(LAYERS * size)
    nodes, weights = [], []
    for i in range(LAYERS):
        weight = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
        weight.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "net.bin", "offset": i * size, "length": size}.items():
            weight.external_data.add(key=key, value=str(value))
        weights.append(weight)
        nodes.append(make_node("MatMul", [f"x{i}", f"w{i}"], [f"h{i}"], name=f"fc{i}"))
        nodes.append(make_node("Relu", [f"h{i}"], [f"x{i + 1}"], name=f"relu{i}"))
    first, last = (
        make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH])
        for name in ("x0", f"x{LAYERS}")
    )
    graph = make_graph(nodes, "wide", [first], [last], weights)
    model = make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="pages are dropped on Linux alone")
def test_more_weights_than_memory(wide: Path) -> None:
    done = run(
        *("verify", str(wide), str(wide), "--data", "gaussian?n=2", "--no-time"),
        *("--memory", "400MiB", "--threads", "1", "--regression", "0.1"),
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stderr.split()[-1]) / 1024
    assert peak < 1.3 * 400  # the weights alone are 576 MiB


def test_more_weights_than_memory_are_refused_where_all_must_be_held(wide: Path) -> None:
    done = run(
        *("compress", str(wide), "-o", str(wide.with_name("thin.onnx")), "--macs", "0.5"),
        *("--data", "gaussian?n=20", "--memory", "1GiB"),
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "--memory" in line]
    assert "net.onnx takes" in line
    assert "1.7 GiB for weights" in line
    assert not wide.with_name("thin.onnx").exists()
