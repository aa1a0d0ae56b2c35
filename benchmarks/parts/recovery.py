"""Agreement and accuracy of compressed networks before and after a recovery.

``python -m benchmarks.parts.recovery [--cifar10 FOLDER]`` prints the table of ``docs/finetune.md``.
The networks of CIFAR-10 are trained for two passes, half a minute and two minutes of one core.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.measuring.scoring import THREADS, request
from benchmarks.networks import small
from benchmarks.networks.trained import (
    CIFAR,
    CIFAR_PREPARED,
    TRAINED,
    Examples,
    Network,
    NetworkKind,
    timed_networks,
)
from benchmarks.networks.training import trained
from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compressor
from frivkit.compression.recovery.recover import Recoverer
from frivkit.compression.recovery.settings import RecoverySettings
from frivkit.data import open_data
from frivkit.graph.onnx_io.save import save
from frivkit.verification.agreement import Agreement

BRIEF = CIFAR | {"epochs": 2, "decay": 0.2}
"""How the networks of CIFAR-10 are trained."""
BUILDS = {
    "six convolutions, 32 maps": (
        "six-convolutions-32",
        partial(small.six_convolutions, 3, 32),
    ),
    "inverted residuals": ("inverted-residuals", partial(small.inverted_residuals, 3)),
}
LEVELS = {
    "MNIST net": (0.1, 0.05),
    "six convolutions, 32 maps": (0.5, 0.25, 0.1),
    "inverted residuals": (0.5,),
}
"""The shares of multiply-accumulates that are left, by network."""
AUGMENTED = ("flip", "crop")
"""How the images of CIFAR-10 may be changed."""
LONG = 600.0
"""Minutes, more than any takes: the steps that are planned are all made."""
HEAD = """| network | MACs left | | error | agreement | gained | accuracy | CPU s |
|---|---|---|---|---|---|---|---|"""


def brief_network(name: str, cifar10: Path, folder: Path) -> Network:
    """Return a network that is trained briefly on CIFAR-10, with examples of it."""
    train, test = (
        f"cifar10:{cifar10}?split={split}&validation=0&{CIFAR_PREPARED}"
        for split in ("train", "test")
    )
    x, y = _read(train, 50_000)
    stem, build = BUILDS[name]
    net = trained(f"{stem}-cifar10-{len(x)}", build, train, BRIEF, seed=0, folder=TRAINED)
    drawn = np.random.default_rng(0).permutation(len(x))[:1000]
    examples = (x[drawn], y[drawn]), _read(test, 5_000)
    kind = NetworkKind(name, lambda *_: (net, *examples), {})
    return kind.network(folder, 0, small=False)


def rows(network: Network, augmentations: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield the rows of a network: refitted, and recovered with each augmentation."""
    with np.load(network.verification) as file:
        x, y = file["x"], file["y"]
    whole, path = labels(network.model, x), network.model.with_name("thin.onnx")
    yield f"| {network.name} | 1 | whole | | 1 | | {(whole == y).mean():.4f} | |"
    for level in LEVELS[network.name]:
        start, budget = process_time(), Budget("macs", level)
        compressor = Compressor(request(network))
        plan, _ = compressor.plan(budget)
        plan, refitted = compressor.refitted(plan, budget)
        spent = process_time() - start
        save(refitted, path, compressor.calibration.model)
        before = labels(path, x)
        share, accuracy = _cells(before, whole, y)
        yield f"| | {level:g} | refitted | | {share} | | {accuracy} | {spent:.0f} |"
        for kinds in augmentations:
            start = process_time()
            recoverer = Recoverer(compressor.calibration, RecoverySettings(LONG, kinds))
            recovered, recovery = recoverer.recovered(plan, refitted)
            spent = process_time() - start
            save(recovered, path, compressor.calibration.model)
            after = labels(path, x)
            share, accuracy = _cells(after, whole, y)
            how = " and ".join(("recovered", *kinds)).replace(" and flip", ", flip")
            errors = " → ".join(f"{error:.4f}" for error in recovery.errors)
            gained = _gained(before == whole, after == whole) if recovery.kept else "given back"
            yield f"| | | {how} | {errors} | {share} | {gained} | {accuracy} | {spent:.0f} |"


def labels(path: Path, x: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the labels that a file predicts."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    parts = [session.run(None, {name: x[at : at + 100]})[0] for at in range(0, len(x), 100)]
    found: NDArray[np.intp] = np.concatenate(parts).argmax(axis=1)
    return found


def _cells(found: NDArray[np.intp], whole: NDArray[np.intp], y: NDArray[np.intp]) -> list[str]:
    """Return the share of labels that are the original's, with its interval, and the accuracy."""
    agreement = Agreement(int((found == whole).sum()), len(whole))
    low, high = agreement.interval
    return [f"{agreement.share:.4f} ({low:.4f}–{high:.4f})", f"{(found == y).mean():.4f}"]


def _gained(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> str:
    """Return the gain in percentage points with a 95 % interval, from pairs of examples."""
    change = after.astype(int) - before.astype(int)
    around = 1.96 * change.std() / np.sqrt(len(change))
    return f"{100 * change.mean():+.2f} ± {100 * around:.2f}"


def _read(spec: str, most: int) -> Examples:
    data = open_data(spec, None)
    batch = data.read(0, min(most, data.examples))
    (x,) = batch.inputs.values()
    return x, np.asarray(batch.labels)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts.recovery")
    parser.add_argument("--cifar10", type=Path, help="folder of CIFAR-10, for two more networks")
    parser.add_argument("--only", choices=LEVELS, help="one of the networks")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    print(HEAD)
    names = [name for name in LEVELS if arguments.only in (None, name)]
    with threadpool_limits(THREADS), TemporaryDirectory() as folder:
        for name in names:
            here = Path(folder, name)
            here.mkdir()
            if name in BUILDS:
                if arguments.cifar10 is not None:
                    network = brief_network(name, arguments.cifar10, here)
                    for row in rows(network, ((), AUGMENTED)):
                        print(row, flush=True)
                continue
            (kind,) = (each for each in timed_networks(None) if each.name == name)
            for row in rows(kind.network(here, 0, small=False), ((),)):
                print(row, flush=True)


if __name__ == "__main__":
    main()
