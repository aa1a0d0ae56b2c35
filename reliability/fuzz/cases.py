"""The suite ``fuzz``: mutated files, each read by a command in a process with limits."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.random import Generator

from reliability.fuzz.archive_mutations import mutated_archive, mutated_array
from reliability.fuzz.byte_mutations import mutated_bytes
from reliability.fuzz.exactness import difference
from reliability.fuzz.hdf5_mutations import mutated_beneath, mutated_hdf5
from reliability.fuzz.model_cases import (
    FEW,
    SMALLER,
    Command,
    write_attention,
    write_for_torch,
    write_legal,
    write_network,
    write_outputs,
)
from reliability.fuzz.picture_mutations import mutated_picture
from reliability.fuzz.seeds import PARAMETERS, RECIPE, STACKS, Seeds, write_seeds
from reliability.fuzz.table_mutations import as_toml, mutated_table
from reliability.fuzz.values import one_of
from reliability.running.conversion import convert_in_a_fork
from reliability.running.forked import GIBIBYTE, Limits, start
from reliability.running.torch_command import add_torch_command
from reliability.running.trials import Trial
from reliability.running.verdict import Verdict, judged

LIMITS = Limits(seconds=60, cpu=20, memory=4 * GIBIBYTE)
DATA = ("--data", "npz:x.npz")


@dataclass(frozen=True, slots=True)
class FuzzedKind:
    """A kind of file.

    Attributes:
        share: Its trials of a hundred.
        write: Writes a damaged file into a folder, and returns the command that reads it.
    """

    share: int
    write: Callable[[Seeds, Path, Generator], Command]


def trials(seed: int, count: int, at: Path) -> Iterator[Trial]:
    """Yield the trials of this suite.

    Args:
        seed: What all draws begin with.
        count: How many.
        at: Folder for the sound files.
    """
    seeds = write_seeds(at)
    names = [name for name, kind in KINDS.items() for _ in range(kind.share)]
    order = np.random.default_rng(seed).permutation(len(names))
    for number in range(count):
        name = names[order[number % len(names)]]

        def run(folder: Path, name: str = name, number: int = number) -> Verdict:
            rng = np.random.default_rng([seed, number])
            return _run(seeds, KINDS[name], folder, rng)

        yield Trial(name, number, run)


def _run(seeds: Seeds, kind: FuzzedKind, folder: Path, rng: Generator) -> Verdict:
    command = kind.write(seeds, folder, rng)
    (folder / "command").write_text(json.dumps(list(command)))
    ended = start(command, folder, LIMITS, _prepare).wait()
    verdict = judged(ended)
    if verdict.fault is None:
        fault = _not_finite(folder) or _left_behind(folder) or _changed(folder) or _inexact(folder)
        verdict = Verdict("fault", fault, verdict.told) if fault else verdict
    return verdict


def _prepare() -> None:
    convert_in_a_fork()
    add_torch_command()


def _not_finite(folder: Path) -> str | None:
    """Return what is wrong with the numbers of the files that were written."""
    result = folder / "result.json"
    if result.exists():
        json.loads(result.read_text(), parse_constant=_refuse)
    compressed = folder / "thin.onnx"
    if compressed.exists():
        model = onnx.load(compressed)
        for tensor in model.graph.initializer:
            numbers = onnx.numpy_helper.to_array(tensor)
            if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
                given = onnx.load(folder / "seed.onnx") if (folder / "seed.onnx").exists() else None
                if given is None or not _has_others(given):
                    return "weights that are not finite were written"
    return None


def _inexact(folder: Path) -> str | None:
    """Return how a network that was made smaller differs from the one it was made from."""
    if (folder / "exact.onnx").exists():
        return difference(folder, "seed.onnx", "exact.onnx")
    if (folder / "narrow.onnx").exists():
        return difference(folder, "seed.onnx", "narrow.onnx", tolerance=None)
    return None


def _has_others(model: onnx.ModelProto) -> bool:
    """Whether a model that was read holds numbers that are not finite itself."""
    for tensor in model.graph.initializer:
        numbers = onnx.numpy_helper.to_array(tensor)
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            return True
    return False


def _changed(folder: Path) -> str | None:
    """Return what differs from the result of the run before, where there was one."""
    before, after = folder / "before.json", folder / "result.json"
    if before.exists() and after.exists():
        one, other = (json.loads(path.read_text()) for path in (before, after))
        if one["measurements"] != other["measurements"]:
            return "another result from a damaged cache"
    return None


def _refuse(name: str) -> float:
    raise ValueError(f"{name} in a result")


def _left_behind(folder: Path) -> str | None:
    """Return a temporary file that a run left behind."""
    left = [path.name for path in folder.rglob(".*.tmp")]
    left += [
        path.name
        for path in folder.with_name("work-around").glob("tmp/*")
        if not path.name.startswith("torchinductor")  # torch makes it when it is imported
    ]
    return f"temporary files were left: {left[0]}" if left else None


def _reader(rng: Generator, model: str, data: str) -> Command:
    commands: tuple[Command, ...] = (
        ("analyze", model, "--data", data, *FEW, "--json", "result.json"),
        ("analyze", model, "--data", data, "--metric", "redundancy"),
        ("compress", model, "--data", data, *SMALLER),
        ("activations", model, "--data", data, "-o", "out.h5"),
    )
    return one_of(rng, commands)


def _data(name: str, model: str, spec: str, mutate: Callable[[bytes, Generator], bytes]) -> Any:
    """Return a writer of a damaged data file beside the model that takes such data."""

    def write(seeds: Seeds, folder: Path, rng: Generator) -> Command:
        shutil.copy(seeds.folder / model, folder)
        (folder / name).write_bytes(mutate(seeds.files[name], rng))
        return _reader(rng, model, spec)

    return write


def _idx(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    shutil.copy(seeds.folder / "grey.onnx", folder)
    names = ["t10k-labels-idx1-ubyte", "t10k-images-idx3-ubyte"]
    if rng.random() < 0.3:
        names[1] += ".gz"
    bad = one_of(rng, names)
    for name in names:
        content = seeds.files[name]
        (folder / name).write_bytes(mutated_bytes(content, rng) if name == bad else content)
    return _reader(rng, "grey.onnx", "idx:.")


def _cifar(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    shutil.copy(seeds.folder / "colour.onnx", folder)
    name = one_of(rng, ("test_batch", "test_batch.bin"))
    (folder / name).write_bytes(mutated_bytes(seeds.files[name], rng))
    return _reader(rng, "colour.onnx", "cifar10:.?size=8x8")


def _pictures(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    shutil.copy(seeds.folder / "colour.onnx", folder)
    names = sorted(name for name in seeds.files if name.startswith("picture."))
    bad = one_of(rng, names)
    classes = rng.random() < 0.5
    for name in names:
        content = seeds.files[name]
        place = folder / "pictures" / (name[-1] if classes else "") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(mutated_picture(content, rng) if name == bad else content)
    keys = one_of(rng, ("", "?size=8x8", "?short=9&crop=8&scale=1/255", "?colours=grey"))
    return _reader(rng, "colour.onnx", f"images:pictures{keys}")


def _recipe(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    del seeds
    table = one_of(rng, (RECIPE, RECIPE, PARAMETERS, STACKS))
    content = as_toml(mutated_table(table, rng)).encode(errors="replace")
    if rng.random() < 0.2:
        content = mutated_bytes(as_toml(table).encode(), rng)
    (folder / "recipe.toml").write_bytes(content)
    return ("sweep", "recipe.toml", "-o", "out")


def _plan(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    shutil.copy(seeds.folder / "mlp.onnx", folder)
    shutil.copy(seeds.folder / "x.npz", folder)
    content = seeds.files["plan.json"]
    if rng.random() < 0.8:
        changed = json.dumps(mutated_table(json.loads(content), rng)).encode()
    else:
        changed = mutated_bytes(content, rng)
    (folder / "plan.json").write_bytes(changed)
    more = ("-o", "thin.onnx", "--no-time", "--json", "result.json")
    return ("compress", "mlp.onnx", *DATA, "--plan", "plan.json", *more)


def _torch(name: str) -> Callable[[Seeds, Path, Generator], Command]:
    def write(seeds: Seeds, folder: Path, rng: Generator) -> Command:
        (folder / name).write_bytes(mutated_archive(seeds.files[name], rng))
        shutil.copy(seeds.folder / "x.npz", folder)
        words = one_of(rng, (("inspect", name), ("analyze", name, *DATA, *FEW)))
        shape = ("--input-shape", "1x8") if name == "net.pt" and words[0] == "inspect" else ()
        trust = ("--trust",) if rng.random() < 0.95 else ()
        return (*words, *shape, *trust)

    return write


def _activations(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    """Write a damaged file of activations where an interrupted run would be resumed."""
    for name in ("mlp.onnx", "x.npz"):
        shutil.copy(seeds.folder / name, folder)
    (folder / "out.h5").write_bytes(mutated_beneath(seeds.files["activations.h5"], rng))
    return ("activations", "mlp.onnx", *DATA, "-o", "out.h5")


def _cached(seeds: Seeds, folder: Path, rng: Generator) -> Command:
    """Damage an entry of the cache that the next run reads."""
    for name in ("mlp.onnx", "x.npz"):
        shutil.copy(seeds.folder / name, folder)
    command = ("analyze", "mlp.onnx", *DATA, *FEW)
    start([*command, "--json", "before.json"], folder, LIMITS).wait()
    entries = sorted(folder.with_name("work-around").glob("cache/*.h5"))
    bad = one_of(rng, entries)
    bad.write_bytes(mutated_hdf5(bad.read_bytes(), rng))
    return (*command, "--json", "result.json")


KINDS = {
    "ONNX": FuzzedKind(36, write_network),
    "legal and unusual (ONNX)": FuzzedKind(6, write_legal),
    "attention (ONNX)": FuzzedKind(7, write_attention),
    "outputs and tasks (ONNX)": FuzzedKind(6, write_outputs),
    "to_torch (ONNX)": FuzzedKind(4, write_for_torch),
    "npz": FuzzedKind(4, _data("x.npz", "mlp.onnx", "npz:x.npz", mutated_archive)),
    "npy": FuzzedKind(3, _data("x.npy", "mlp.onnx", "npy:x.npy", mutated_array)),
    "HDF5": FuzzedKind(5, _data("x.h5", "mlp.onnx", "hdf5:x.h5", mutated_hdf5)),
    "IDX": FuzzedKind(3, _idx),
    "CIFAR-10": FuzzedKind(3, _cifar),
    "images": FuzzedKind(5, _pictures),
    "recipes (TOML)": FuzzedKind(6, _recipe),
    "plans (JSON)": FuzzedKind(3, _plan),
    "activation files": FuzzedKind(3, _activations),
    "cache": FuzzedKind(2, _cached),
    "TorchScript": FuzzedKind(2, _torch("net.pt")),
    "torch.export": FuzzedKind(2, _torch("net.pt2")),
}
