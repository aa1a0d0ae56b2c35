"""A calibration from the cache: the same bits as a fresh one, and none that is not its own."""

from dataclasses import replace

import h5py
import numpy as np
import onnx
import pytest

from frivkit.cache import Cache
from frivkit.compression import calibration_cache
from frivkit.compression import compress as compressing
from frivkit.compression.budget import Budget
from frivkit.compression.calibration_cache import calibration_key
from frivkit.compression.compress import Compressor
from frivkit.compression.linear_consumers import distinct_sources
from frivkit.errors import ModelError
from frivkit.files import HOST
from frivkit.graph.model import digest
from frivkit.measure.pipeline import Request
from frivkit.runtime.execution import Execution
from tests.program import write_cnn, write_rows


@pytest.fixture
def request_(tmp_path):
    data = write_rows(tmp_path / "x.npz", 1, 8, 8)
    return Request(write_cnn(tmp_path / "net.onnx"), f"npz:{data}", execution=Execution(threads=1))


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def passes(monkeypatch):
    """Return a list that grows with each pass over the calibration examples."""
    made, accumulate = [], calibration_cache.accumulate_patch_moments

    def counted(*given, **more):
        made.append(given)
        return accumulate(*given, **more)

    monkeypatch.setattr(calibration_cache, "accumulate_patch_moments", counted)
    return made


def bits(calibration):
    """Return all that a pass gives, as bytes."""
    found = []
    for moments in calibration.patch_moments.values():
        found.append(moments.per_channel)
        for part in moments.parts:
            arrays = (part.shift, part.total, part.packed)
            found += [part.count, *((a.dtype, a.shape, a.tobytes()) for a in arrays)]
    for name, spread in calibration.spreads.items():
        found += [name, spread.mean.tobytes(), spread.variance]
    return found


def test_second_calibration_takes_no_pass_and_makes_the_same_file(
    request_, cache, passes, tmp_path
):
    fresh = Compressor(request_)
    first, second = (Compressor(request_, cache=cache) for _ in range(2))
    assert len(passes) == 2
    assert [c.calibration.reused for c in (fresh, first, second)] == [False, False, True]
    assert bits(fresh.calibration) == bits(first.calibration) == bits(second.calibration)
    files = []
    for number, compressor in enumerate((fresh, second)):
        path = tmp_path / f"{number}.onnx"
        compressor.compress(Budget("macs", 0.5), path, time_batches=())
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_whatever_the_moments_depend_on_is_in_the_key(request_):
    compressor = Compressor(request_)
    calibration, run = compressor.calibration, compressor.calibration.run
    sources = distinct_sources(calibration.linear_consumers)
    given = (calibration.model, sources, run.data, run.execution)
    axes = {"a": 1}
    other_model = replace(calibration.model, sha256="0" * 64)
    keys = [
        calibration_key(*given, tensor_axes=axes),
        calibration_key(other_model, *given[1:], tensor_axes=axes),
        calibration_key(given[0], sources[:1], *given[2:], tensor_axes=axes),
        calibration_key(*given[:2], compressor.held_out, given[3], tensor_axes=axes),
        calibration_key(*given, tensor_axes={"a": 2}),
        *(
            calibration_key(*given[:3], replace(run.execution, **{name: value}), tensor_axes=axes)
            for name, value in {"seed": 1, "memory": 1 << 20, "threads": 2}.items()
        ),
    ]
    assert len({key.digest for key in keys}) == len(keys)
    assert keys[0] == calibration_key(*given, tensor_axes=dict(axes))


def flipped_byte(path):
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        dataset = file[next(name for name in file if name.endswith("packed"))]
        at = dataset.id.get_chunk_info(0).byte_offset
    content[at + 8] ^= 0xFF
    path.write_bytes(content)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.filterwarnings("ignore:cache file")
@pytest.mark.parametrize("damage", [flipped_byte, cut_short])
def test_damaged_entry_is_computed_again(request_, cache, passes, damage):
    first = Compressor(request_, cache=cache)
    (entry,) = cache.entries()
    damage(entry.path)
    again, third = (Compressor(request_, cache=cache) for _ in range(2))
    assert [c.calibration.reused for c in (again, third)] == [False, True]
    assert len(passes) == 2
    assert bits(first.calibration) == bits(again.calibration) == bits(third.calibration)


def test_moments_that_are_too_large_are_not_stored(request_, cache, monkeypatch):
    small = Cache(cache.root, limit=1000)
    Compressor(request_, cache=small)
    monkeypatch.setattr(calibration_cache, "MOST_BYTES", 1000)
    Compressor(request_, cache=cache)
    assert cache.entries() == []
    monkeypatch.undo()
    Compressor(request_, cache=cache)
    (entry,) = cache.entries()
    assert entry.fields["what"] == "calibration"


def test_numbers_of_an_entry_are_finite_and_in_their_own_types(request_, cache):
    Compressor(request_, cache=cache)
    (entry,) = cache.entries()
    with h5py.File(entry.path) as file:
        kinds = {name: item.dtype for name, item in file.items()}
        assert all(np.isfinite(item[()]).all() for item in file.values())
    packed = {kind for name, kind in kinds.items() if name.endswith("packed")}
    assert packed == {np.dtype("float32")}


def test_a_proof_is_of_the_file_that_is_there(request_, tmp_path, monkeypatch):
    """Another run of that name is overwritten, and one that changes what is verified is noticed."""
    path, verified = tmp_path / "thin.onnx", compressing.verify
    changed = path

    def raced(request, file, **more):
        result = verified(request, file, **more)
        write_cnn(changed or file)
        return result

    monkeypatch.setattr(compressing, "verify", raced)
    verification = (
        Compressor(request_).compress(Budget("macs", 0.5), path, time_batches=()).verification
    )
    assert verification.compressed.model.path == path
    assert verification.compressed.model.sha256 == digest([path])
    before, changed = path.read_bytes(), None
    with pytest.raises(ModelError, match=r"/thin\.onnx was replaced by another program") as caught:
        Compressor(request_).compress(Budget("macs", 0.5), path, time_batches=())
    assert ".tmp" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ModelError("it gives NaN")])
def test_an_earlier_file_stays_until_the_new_one_is_verified(
    request_, tmp_path, monkeypatch, failure
):
    def failing(request, file, **more):
        assert onnx.load(file).graph.node  # the new file is complete
        raise failure

    path = tmp_path / "thin.onnx"
    write_cnn(path)
    before, there = path.read_bytes(), sorted(tmp_path.iterdir())
    abandoned = tmp_path / f".thin.onnx.999999999-{HOST}00000000.tmp"
    abandoned.mkdir()
    (abandoned / "thin.onnx").write_bytes(b"of a run that was killed")
    monkeypatch.setattr(compressing, "verify", failing)
    with pytest.raises(type(failure)):
        Compressor(request_).compress(Budget("macs", 0.5), path, time_batches=())
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == there
