"""``frivkit activations``: what the file holds, and that nothing can leave a broken one."""

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import frivkit.activation_files.write as writing
from frivkit.activation_files import write_activations
from frivkit.activation_files.file import Part
from frivkit.cli import main
from frivkit.data import open_data
from frivkit.errors import FrivkitError, ModelError
from frivkit.measure.pipeline import Request, load_model
from frivkit.runtime.execution import Execution
from tests import handmade, nets

ROOT = Path(__file__).parents[2]
DATA = "gaussian?seed=3&n=40"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder with a model that has sites r (4, 4, 4) and s (5, 2, 2)."""
    monkeypatch.chdir(tmp_path)
    onnx.save(handmade.unfolded(), tmp_path / "net.onnx")
    return tmp_path


def run(*arguments: str, model: str = "net.onnx", data: str = DATA) -> int:
    with pytest.raises(SystemExit) as end:
        main(["activations", model, "--data", data, "-o", "acts.h5", *arguments])
    return end.value.code


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def arrays(path: Path) -> dict[str, np.ndarray]:
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path, "r") as file:
        file.visititems(keep)
    return found


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes() for name in a
    )


def computed(model: Path, data: str, *tensors: str) -> list[np.ndarray]:
    """Compute tensors with the interpreter of the onnx package."""
    proto = onnx.load(model)
    known = {value.name for value in proto.graph.output}
    proto.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in tensors
        if name not in known
    )
    opened = open_data(data, load_model(Request(model)).inputs)
    inputs = opened.read(0, opened.examples).inputs
    return ReferenceEvaluator(proto).run(list(tensors), dict(inputs))


def test_values_are_those_of_the_onnx_interpreter(folder, capsys):
    assert run() == 0
    told = capsys.readouterr()
    assert told.out.startswith("acts.h5: 2 layers of net.onnx over 40 examples of gaussian?")
    assert "40 examples of 2 layers take " in told.err
    r, s, y = computed(folder / "net.onnx", DATA, "r", "s", "y")
    found = arrays(folder / "acts.h5")
    assert set(found) == {"done", "example", "labels", "outputs", "layers/a", "layers/b"}
    for name, due in {"layers/a": r, "layers/b": s, "outputs": y}.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], due, rtol=1e-4, atol=1e-5)
    assert (found["labels"][:, 0] == y.argmax(axis=1)).all()
    assert found["example"].tolist() == list(range(40))
    assert found["done"] == 40
    assert names(folder) == ["acts.h5", "net.onnx"]


def test_root_and_layers_say_what_they_are(folder):
    assert run("--layer", "b", "--seed", "4") == 0
    model = load_model(Request(folder / "net.onnx"))
    with h5py.File("acts.h5", "r") as file:
        about = dict(file.attrs)
        assert (about["encoding-type"], about["encoding-version"]) == ("frivkit-activations", "1")
        assert about["model"] == model.sha256
        assert about["data-sha256"] == open_data(about["data"], model.inputs).digest
        assert (about["seed"], about["selector"], about["examples"]) == (4, "", 40)
        assert list(file["layers"]) == ["b"]
        layer = file["layers/b"]
        attrs = {"layer": "b", "tensor": "s", "op": "Conv", "unit_axis": 1}
        assert dict(layer.attrs).items() >= attrs.items()
        assert [axis.label for axis in layer.dims] == ["example", "unit", "height", "width"]
        assert layer.dims[0]["example"][:].tolist() == list(range(40))


@pytest.mark.parametrize(
    ("net", "layer", "labels"),
    [
        ("sound", "0", ["example", "unit", "position"]),
        ("volume", "0", ["example", "unit", "depth", "height", "width"]),
        ("tokens", "a", ["example", "position", "unit"]),
        ("halves", "a", ["example", "unit"]),
    ],
)
def test_axes_are_named(net, layer, labels, folder):
    onnx.save(nets.NETS[net](), folder / "other.onnx")
    assert run(model="other.onnx") == 0
    with h5py.File("acts.h5", "r") as file:
        found = file[f"layers/{layer}"]
        assert [axis.label for axis in found.dims] == labels
        assert labels[found.attrs["unit_axis"]] == "unit"
        assert found.dtype == (np.float16 if net == "halves" else np.float32)


def test_slash_in_a_layers_name_makes_no_group(folder):
    proto = handmade.unfolded()
    for node, weight in ((0, "block/one/kernel"), (3, "../kernel")):
        old = proto.graph.node[node].input[1]
        proto.graph.node[node].input[1] = weight
        (held,) = (tensor for tensor in proto.graph.initializer if tensor.name == old)
        held.name = weight
    onnx.save(proto, folder / "slash.onnx")
    assert run(model="slash.onnx") == 0
    with h5py.File("acts.h5", "r") as file:
        stored = {item.attrs["layer"]: name for name, item in file["layers"].items()}
        assert stored == {"block/one": "block%2Fone", "..": ".."}


def test_labels_of_the_data_are_kept(folder):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((7, 3, 4, 4)).astype(np.float32)
    np.savez(folder / "d.npz", x=x, y=np.arange(7) % 3)
    assert run(data="npz:d.npz") == 0
    assert arrays(folder / "acts.h5")["y"].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_fixed_batch_size_leaves_no_padding_in_the_file(folder):
    proto = handmade.unfolded()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 16
    onnx.save(proto, folder / "fixed.onnx")
    assert run(model="fixed.onnx") == 0
    r, _ = computed(folder / "net.onnx", DATA, "r", "s")
    np.testing.assert_allclose(arrays(folder / "acts.h5")["layers/a"], r, rtol=1e-4, atol=1e-5)


def test_drawn_rows_are_rows_of_the_whole(folder):
    assert run("--rows", "100", "--seed", "5") == 0
    (r,) = computed(folder / "net.onnx", DATA, "r")
    found = arrays(folder / "acts.h5")
    example, place = found["rows/a/example"], found["rows/a/place"]
    height, width = np.unravel_index(place, (4, 4))
    np.testing.assert_allclose(
        found["layers/a"], r[example, :, height, width], rtol=1e-4, atol=1e-5
    )
    assert found["layers/a"].shape == (100, 4)
    assert len(set(zip(example.tolist(), place.tolist(), strict=True))) == 100
    assert (np.diff(example) >= 0).all()
    assert len(set(example.tolist())) > 20
    assert len(set(place.tolist())) == 16
    with h5py.File("acts.h5", "r") as file:
        assert file.attrs["selector"] == "map"
        assert [axis.label for axis in file["layers/a"].dims] == ["row", "unit"]
        assert list(file["layers/a"].dims[0].keys()) == ["example", "place"]


def test_drawn_rows_depend_on_the_seed_and_on_no_other_layer(folder):
    drawn = {}
    for case in (("--seed", "1"), ("--seed", "1", "--layer", "b"), ("--seed", "2")):
        assert run("--rows", "60", "--force", *case) == 0
        found = arrays(folder / "acts.h5")
        drawn[case] = (found["rows/b/example"] * 4 + found["rows/b/place"]).tolist()
    first, alone, other = drawn.values()
    assert first == alone
    assert first != other


def test_more_rows_than_there_are_gives_all_of_them(folder):
    assert run("--rows", "1000", "--units", "location") == 0
    r, _ = computed(folder / "net.onnx", DATA, "r", "s")
    found = arrays(folder / "acts.h5")
    np.testing.assert_allclose(found["layers/a"], r.reshape(40, -1), rtol=1e-4, atol=1e-5)
    assert found["rows/a/example"].tolist() == list(range(40))
    assert not found["rows/a/place"].any()


def test_units_without_rows_are_a_wrong_command_line(folder, capsys):
    assert run("--units", "map") == 2
    assert "--units says how --rows are read" in capsys.readouterr().err
    assert names(folder) == ["net.onnx"]


def test_compressed_file_holds_the_same_arrays_in_less_room(folder):
    x = np.zeros((3000, 3, 4, 4), np.float32)
    np.savez(folder / "zeros.npz", x=x)
    assert run(data="npz:zeros.npz") == 0
    plain, size = arrays(folder / "acts.h5"), (folder / "acts.h5").stat().st_size
    assert run("--compress", "lzf", "--force", data="npz:zeros.npz") == 0
    with h5py.File("acts.h5", "r") as file:
        assert file["layers/a"].compression == "lzf"
    assert same(arrays(folder / "acts.h5"), plain)
    assert (folder / "acts.h5").stat().st_size < size / 3
    assert names(folder) == ["acts.h5", "net.onnx", "zeros.npz"]


def test_size_that_is_told_is_the_size_of_the_file(folder, capsys):
    assert run(data="gaussian?n=4000") == 0
    (told,) = re.findall(r"take ([\d.]+) MiB", capsys.readouterr().err)
    size = (folder / "acts.h5").stat().st_size / (1 << 20)
    assert float(told) == pytest.approx(size, rel=0.05)


# What is there already.


def test_finished_file_is_left_and_the_command_says_so(folder, capsys):
    assert run() == 0
    before = (folder / "acts.h5").stat()
    assert run() == 0
    assert "acts.h5 existed already" in capsys.readouterr().err
    after = (folder / "acts.h5").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert run("--force") == 0
    assert (folder / "acts.h5").stat().st_ino != before.st_ino


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (("--layer", "a"), "layers"),
        (("--examples", "30"), "data"),
        (("--rows", "9"), "rows"),
        (("--compress", "lzf"), "compression"),
    ],
)
def test_file_of_another_key_is_refused_by_what_differs(other, field, folder, capsys):
    assert run() == 0
    before = (folder / "acts.h5").read_bytes()
    assert run(*other) == 1
    assert re.search(rf"is of other [\w, ]*{field}", capsys.readouterr().err)
    assert (folder / "acts.h5").read_bytes() == before
    assert run(*other, "--force") == 0
    assert (folder / "acts.h5").read_bytes() != before


@pytest.mark.parametrize("name", ["acts.h5", "acts.h5.part"])
def test_file_of_somebody_else_is_refused(name, folder, capsys):
    (folder / name).write_text("my notes")
    assert run() == 1
    assert f"{name} is no activation file" in capsys.readouterr().err
    assert (folder / name).read_text() == "my notes"
    assert names(folder) == sorted([name, "net.onnx"])


@pytest.mark.parametrize("output", ["-", "/dev/null", "net.onnx", "missing/acts.h5", "."])
def test_places_that_cannot_hold_the_file_are_refused(output, folder, capsys):
    before = (folder / "net.onnx").read_bytes()
    assert run("-o", output) in (1, 2)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert (folder / "net.onnx").read_bytes() == before
    assert names(folder) == ["net.onnx"]


def test_link_stays_a_link(folder):
    (folder / "elsewhere").mkdir()
    (folder / "acts.h5").symlink_to(folder / "elsewhere/real.h5")
    assert run() == 0
    assert (folder / "acts.h5").is_symlink()
    assert names(folder / "elsewhere") == ["real.h5"]


def test_two_processes_do_not_write_one_file(folder, monkeypatch, capsys):
    from filelock import FileLock

    with FileLock(folder / ".acts.h5.lock"):
        assert run() == 1
    assert "is being written by another process" in capsys.readouterr().err


# Interruptions.

DRIVER = """
import os, signal, sys
from pathlib import Path
import frivkit.activation_files.write as writing
from frivkit.activation_files.file import Part
from frivkit.runtime.execution import Execution
from frivkit.measure.pipeline import Request

writing.SECONDS_AT_RISK = 0
writing.batch_size = lambda *_: 20
compress = sys.argv[1] if len(sys.argv) > 1 else None
request = Request(Path("net.onnx"), data="DATA", layers=("b",), execution=Execution(threads=1))

def attempt(path, kill_at):
    # Die by SIGKILL at the given event, before or after it; True when there was none to die at.
    child = os.fork()
    if child == 0:
        left = [kill_at]
        def deadly(function):
            def wrapped(*args, **kwargs):
                for half in (0, 1):
                    if half:
                        result = function(*args, **kwargs)
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                return result
            return wrapped
        for owner, name in [(Part, "write"), (Part, "mark"), (Part, "close"), (Path, "replace"),
                            (Path, "unlink"), (writing, "put_in_place"), (os, "fsync")]:
            setattr(owner, name, deadly(getattr(owner, name)))
        try:
            writing.write_activations(request, path, compress=compress)
        finally:
            os._exit(sys.exc_info()[0] is not None)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

kills = 0
while not attempt(Path(f"after-{kills + 1}.h5"), kills + 1):
    kills += 1
    path = Path(f"after-{kills}.h5")
    print(kills, path.exists(), Path(f"{path}.part").exists())
    assert attempt(path, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize(
    "compress",
    [pytest.param((), id="plain"), pytest.param(("lzf",), id="lzf", marks=pytest.mark.slow)],
)
def test_kill_before_or_after_any_step_costs_nothing(compress, folder):
    script = DRIVER.replace("DATA", DATA)
    command = [sys.executable, "-W", "ignore", "-c", script, *compress]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills = [line.split() for line in done.stdout.splitlines()]
    assert len(kills) > 30
    assert any(part == "True" for _, _, part in kills)
    files = sorted(folder.glob("after-*.h5"))
    assert len(files) == len(kills) + 1
    due = arrays(folder / f"after-{len(files)}.h5")
    assert all(same(arrays(path), due) for path in files)
    assert names(folder) == sorted([*(path.name for path in files), "net.onnx"])


def outside_of_numbers(file: Part, path: Path) -> bytes:
    """Return the bytes of a file without its chunks and the number of finished examples."""
    held = bytearray(path.read_bytes())

    def blank(name, item):
        if isinstance(item, h5py.Dataset) and item.chunks:
            for chunk in map(item.id.get_chunk_info, range(item.id.get_num_chunks())):
                held[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)

    file._file.visititems(blank)
    done = file._file["done"].id.get_offset()
    held[done : done + 8] = bytes(8)
    return bytes(held)


@pytest.mark.parametrize("rows", [(), ("--rows", "90")], ids=["whole", "rows"])
def test_tables_of_the_file_never_change_after_it_was_laid_out(rows, folder, monkeypatch):
    """So that no kill can meet them half-written."""
    seen, fill = [], writing._Job._fill

    def watched(self, file, done):
        seen.append(outside_of_numbers(file, folder / "acts.h5.part"))
        fill(self, file, done)
        seen.append(outside_of_numbers(file, folder / "acts.h5.part"))

    monkeypatch.setattr(writing._Job, "_fill", watched)
    stop_at(0, KeyboardInterrupt(), monkeypatch)  # at none
    assert run(*rows) == 0
    before, after = seen
    assert before == after


def stop_at(batch: int, error: BaseException, monkeypatch) -> list[int]:
    """Let the run end at a batch of 7 examples; give a list of the batches that are run."""
    write, started = writing._Job._write_batch, []

    def failing(self, file, first, *more):
        started.append(first)
        if len(started) == batch:
            raise error
        write(self, file, first, *more)

    monkeypatch.setattr(writing, "SECONDS_AT_RISK", 0)
    monkeypatch.setattr(writing, "batch_size", lambda *_: 7)
    monkeypatch.setattr(writing._Job, "_write_batch", failing)
    return started


def test_interrupt_exits_130_and_the_next_run_goes_on(folder, monkeypatch, capsys):
    started = stop_at(4, KeyboardInterrupt(), monkeypatch)
    assert run() == 130
    assert names(folder) == ["acts.h5.part", "acts.h5.part.log", "net.onnx"]
    assert "run the same command again to resume" in capsys.readouterr().err
    assert run() == 0
    assert "acts.h5.part holds 21 of 40 examples" in capsys.readouterr().err
    assert started == [0, 7, 14, 21, 21, 28, 35]
    assert names(folder) == ["acts.h5", "net.onnx"]
    found = arrays(folder / "acts.h5")
    assert run("--force") == 0
    assert same(found, arrays(folder / "acts.h5"))


def test_part_of_another_key_is_refused_and_kept(folder, monkeypatch, capsys):
    started = stop_at(3, KeyboardInterrupt(), monkeypatch)
    assert run() == 130
    before = (folder / "acts.h5.part").read_bytes()
    assert run("--layer", "a") == 1
    assert "acts.h5.part is of other layers" in capsys.readouterr().err
    assert (folder / "acts.h5.part").read_bytes() == before
    assert run("--layer", "a", "--force") == 0
    assert started[3:] == [0, 7, 14, 21, 28, 35]


def test_part_with_a_link_to_another_file_is_not_written_to(folder, monkeypatch, capsys):
    stop_at(3, KeyboardInterrupt(), monkeypatch)
    assert run() == 130
    with h5py.File("victim.h5", "w") as file:
        file["a"] = np.zeros((40, 4, 4, 4), np.float32)
    with h5py.File("acts.h5.part", "r+") as file:
        del file["layers/a"]
        file["layers/a"] = h5py.ExternalLink("victim.h5", "/a")
    before = (folder / "victim.h5").read_bytes()
    assert run() == 1
    assert "acts.h5.part is damaged" in capsys.readouterr().err
    assert (folder / "victim.h5").read_bytes() == before


def test_disk_without_room_is_refused_before_anything_is_written(folder, monkeypatch, capsys):
    full = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=1 << 20))
    monkeypatch.setattr(writing, "shutil", full)
    assert run() == 1
    assert "has 1.0 MiB free and " in capsys.readouterr().err
    assert names(folder) == ["net.onnx"]


def test_disk_that_fills_up_leaves_the_part_and_one_line(folder, monkeypatch, capsys):
    write, calls = Part.write, []

    def full(self, name, start, rows):
        calls.append(name)
        if len(calls) == 10:  # a file may not grow from here on, nor be written beyond that
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        write(self, name, start, rows)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    stop_at(0, KeyboardInterrupt(), monkeypatch)  # at none
    monkeypatch.setattr(Part, "write", full)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        assert run() == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"frivkit: .*acts\.h5\.part cannot be written: File too large; ", last)
    assert names(folder) == ["acts.h5.part", "acts.h5.part.log", "net.onnx"]
    monkeypatch.setattr(Part, "write", write)
    assert run() == 0
    found = arrays(folder / "acts.h5")
    assert run("--force") == 0
    assert same(found, arrays(folder / "acts.h5"))


def test_output_whose_size_depends_on_the_batch_is_refused(folder):
    proto = handmade.written(
        """g (float[N, 6] x) => (int64[N, M] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          b = Gemm (r, wb)
          n = Shape <end = 1> (b)
          e = Expand (one, n)
          c = CumSum (e, zero)
          t = Mul (c, b)
          y = Identity (t)
        }""",
        wa=(6, 5), wb=(5, 1), one=np.ones(1, np.float32), zero=np.array(0),
    )  # fmt: skip
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(proto, folder / "odd.onnx")
    with pytest.raises(ModelError, match="has other rows for other examples"):
        write_activations(Request(folder / "odd.onnx", data="gaussian?n=9"), folder / "o.h5")
    assert not (folder / "o.h5").exists()


def test_rows_that_cannot_be_drawn_in_memory_are_refused(folder):
    request = Request(folder / "net.onnx", data="gaussian?n=9", execution=Execution(memory=1 << 20))
    with pytest.raises(FrivkitError, match="drawing 9000 rows of 2 layers does not fit"):
        write_activations(request, folder / "o.h5", rows=9000)


MEMORY = """
import resource
from pathlib import Path
from frivkit.activation_files import write_activations
from frivkit.measure.pipeline import Request
from frivkit.runtime.execution import Execution

for n in (64, 3000):
    execution = Execution(memory=32 << 20)
    request = Request(Path("wide.onnx"), data=f"gaussian?n={n}", execution=execution)
    print(write_activations(request, Path(f"{n}.h5")).bytes)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory as Linux tells it")
def test_memory_does_not_grow_with_the_examples(folder):
    proto = handmade.written(
        """g (float[N, 1, 28, 28] x) => (float[N, 3] y) {
          a = Conv <pads = [1, 1, 1, 1]> (x, wa)
          r = Relu (a)
          p = GlobalAveragePool (r)
          f = Flatten (p)
          y = Gemm (f, wb)
        }""",
        wa=(32, 1, 3, 3), wb=(32, 3),
    )  # fmt: skip
    onnx.save(proto, folder / "wide.onnx")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (_, few, size, many) = map(int, done.stdout.split())
    assert size > 250 << 20
    assert many - few < 64 << 20


# The page.


def test_examples_of_the_page_run(folder, capsys):
    page = (ROOT / "docs/activations.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert run() == 0
    assert run("-o", "rows.h5", "--rows", "50") == 0
    capsys.readouterr()
    spaces: list[dict[str, object]] = []
    for block in blocks:
        spaces.append({})
        exec(compile(block, "docs/activations.md", "exec"), spaces[-1])  # noqa: S102  # our own page
    assert capsys.readouterr().out.splitlines() == [
        "a (40, 4, 4, 4) ['example', 'unit', 'height', 'width']",
        "b (40, 5, 2, 2) ['example', 'unit', 'height', 'width']",
    ]
    whole, rows = spaces
    (s,) = computed(folder / "net.onnx", DATA, "s")
    np.testing.assert_allclose(whole["means"], s.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert rows["covariances"].shape == (5, 5)
    assert len(rows["label_of_row"]) == 50


def test_page_names_every_option_and_attribute(folder):
    page = (ROOT / "docs/activations.md").read_text()
    from frivkit.cli.activations import command
    from frivkit.cli.options import _OPTIONS

    shared = len(_OPTIONS)
    for option in command.params[1:-shared]:
        assert option.opts[0] in page, option.opts
    assert run("--rows", "5") == 0
    with h5py.File("acts.h5", "r") as file:
        for name in file.attrs:
            assert f"`{name}`" in page
