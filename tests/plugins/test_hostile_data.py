"""NumPy and HDF5 files that are damaged, or made to mislead, are refused in one line."""

import pickle
import struct
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest

from frivkit.data import TensorSpec, open_data
from frivkit.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (23, 1, 5, 4), dtype=np.uint8)
Y = np.arange(23, dtype=np.uint8) % 10


def refused(spec: str, inputs=None) -> str:
    """Return the message with which a spec is refused, when opened or when read."""
    with pytest.raises(DataError) as caught:
        read_all(spec, inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read_all(spec: str, inputs=None):
    data = open_data(spec, inputs)
    return data.read(0, data.examples)


def write_npz(folder, save=np.savez, **arrays):
    save(folder / "data.npz", **arrays)
    return f"npz:{folder / 'data.npz'}"


# --- npz ---


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


def test_npz_is_never_unpickled(tmp_path):
    x = np.array([Trap(), Trap()], dtype=object)
    assert "Python objects" in refused(write_npz(tmp_path, x=x))
    (tmp_path / "data.npz").write_bytes(pickle.dumps(Trap()))
    assert "no .npz file" in refused(f"npz:{tmp_path / 'data.npz'}")


def test_npy_is_no_npz(tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert "np.savez" in refused(f"npz:{tmp_path / 'x.npy'}")


def npy_bytes(header: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + data


ODD_HEADERS = [
    npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 1000), }", b"\0" * 400),
    npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", b"\0" * 400),
    npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -4), }", b"\0" * 16),
    npy_bytes("{'descr': '<f4', 'fortran_order': False, }", b"\0" * 16),
    npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (4,", b"\0" * 16),
    npy_bytes("{[]: 1}"),
    npy_bytes("(" * 5000),
    npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", version=b"\7\0"),
    b"\x93NUMPY",
    b"nothing of the kind",
    b"",
]


@pytest.mark.parametrize("content", ODD_HEADERS)
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_npz_with_an_odd_header_is_refused(content, packing, tmp_path):
    with zipfile.ZipFile(tmp_path / "data.npz", "w", packing) as archive:
        archive.writestr("x.npy", content)
    message = refused(f"npz:{tmp_path / 'data.npz'}")
    assert "'x'" in message
    assert len(message) < 400


@pytest.mark.parametrize("content", ODD_HEADERS)
def test_npy_with_an_odd_header_is_refused(content, tmp_path):
    (tmp_path / "data.npy").write_bytes(content)
    message = refused(f"npy:{tmp_path / 'data.npy'}")
    assert "write" in message
    assert len(message) < 400


def test_npy_is_never_unpickled(tmp_path):
    np.save(tmp_path / "data.npy", np.array([Trap(), Trap()], dtype=object), allow_pickle=True)
    assert "Python objects" in refused(f"npy:{tmp_path / 'data.npy'}")


def test_npz_whose_directory_promises_what_is_not_there_is_refused(tmp_path):
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000,), }"
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x.npy", npy_bytes(header, b"\0" * 100))
    content = (tmp_path / "data.npz").read_bytes()
    claimed = struct.pack("<I", 4_000_000_000 + len(npy_bytes(header)))
    true = struct.pack("<I", 100 + len(npy_bytes(header)))
    assert content.count(true) == 4  # both sizes, in both headers
    (tmp_path / "data.npz").write_bytes(content.replace(true, claimed))
    with pytest.raises(DataError, match="promises 4000000000 bytes but"):
        open_data(f"npz:{tmp_path / 'data.npz'}", None)


def test_npz_packed_otherwise_or_encrypted_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=X)
    with zipfile.ZipFile(path) as archive:
        content = archive.read("x.npy")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", content)
    assert "compressed in an unusual way" in refused(f"npz:{path}")
    np.savez(path, x=X)
    archived = bytearray(path.read_bytes())
    archived[archived.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(archived)
    assert "encrypted" in refused(f"npz:{path}")


def test_npz_compressed_in_fortran_order_is_refused(tmp_path):
    spec = write_npz(tmp_path, np.savez_compressed, x=np.asfortranarray(X))
    assert "np.ascontiguousarray" in refused(spec)


def test_npz_with_damaged_compression_is_refused(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (64, 4096), dtype=np.uint8)
    spec = write_npz(tmp_path, np.savez_compressed, x=x)
    path = tmp_path / "data.npz"
    content = bytearray(path.read_bytes())
    content[50_000] ^= 0xFF
    path.write_bytes(content)
    assert "damaged or cut short" in refused(spec)


def test_npz_that_shrinks_while_in_use_is_an_error(tmp_path):
    data = open_data(write_npz(tmp_path, x=np.zeros((100, 4096))), None)
    data.read(0, 1)
    with (tmp_path / "data.npz").open("r+b") as file:
        file.truncate(50_000)
    with pytest.raises(DataError, match="cannot be read"):
        data.read(90, 100)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_cut_short_anywhere_is_refused(save, tmp_path):
    spec = write_npz(tmp_path, save, x=X, y=Y)
    path = tmp_path / "data.npz"
    content = path.read_bytes()
    for length in range(1, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        refused(spec)


# --- hdf5 ---


def planted(folder, plant) -> str:
    with h5py.File(folder / "planted.h5", "w") as file:
        plant(file)
    return f"hdf5:{folder / 'planted.h5'}"


@pytest.mark.parametrize("name", ["x", "y"])
def test_hdf5_links_are_not_followed(name, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"], file["y"] = X, Y
    others = {"x": X, "y": Y}
    del others[name]

    def plant(link):
        def put(file):
            file[name] = link
            for key, array in others.items():
                file[key] = array
            file["inside"] = {"x": X, "y": Y}[name]

        return put

    secret = str(tmp_path / "secret.h5")
    assert "is a link" in refused(planted(tmp_path, plant(h5py.ExternalLink(secret, name))))
    assert "is a link" in refused(planted(tmp_path, plant(h5py.SoftLink("/inside"))))
    assert "is a link" in refused(planted(tmp_path, plant(h5py.ExternalLink("none.h5", name))))
    assert "is a link" in refused(planted(tmp_path, plant(h5py.SoftLink("/nowhere"))))


def test_hdf5_external_storage_is_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 100)

    def plant(file):
        file.create_dataset("x", (10, 8), "u1", external=[(str(secret), 0, 80)])

    spec = planted(tmp_path, plant)
    with h5py.File(tmp_path / "planted.h5") as file:
        assert file["x"][0].tobytes() == b"secretse"  # the plant works
    assert "in other files, never read" in refused(spec)


def test_hdf5_virtual_datasets_are_not_read(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = X

    def plant(file):
        layout = h5py.VirtualLayout(X.shape, X.dtype)
        layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "x", X.shape)
        file.create_virtual_dataset("x", layout)

    spec = planted(tmp_path, plant)
    with h5py.File(tmp_path / "planted.h5") as file:
        np.testing.assert_array_equal(file["x"][:], X)  # the plant works
    assert "in other files, never read" in refused(spec)


def test_hdf5_names_lead_to_the_root_only(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = X

    def plant(file):
        file["a"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/")

    inputs = [TensorSpec(name, "float32", (1, 5, 4)) for name in ("a/x", "a")]
    assert "no array is named 'a/x'" in refused(planted(tmp_path, plant), inputs)


def test_hdf5_groups_and_empty_datasets_are_refused(tmp_path):
    assert "is a group" in refused(planted(tmp_path, lambda file: file.create_group("x")))
    empty = planted(tmp_path, lambda file: file.create_dataset("x", data=h5py.Empty("f4")))
    assert "store one row per example" in refused(empty)


def test_hdf5_that_claims_more_than_its_file_holds_is_refused(tmp_path):
    spec = planted(tmp_path, lambda file: file.create_dataset("x", (10**9, 1000), "f4"))
    assert (tmp_path / "planted.h5").stat().st_size < 5000
    assert "claims 4000000000000 bytes" in refused(spec)


def test_hdf5_with_holes_is_read_in_bounded_memory(tmp_path):
    spec = planted(
        tmp_path,
        lambda file: file.create_dataset("x", (10**6, 10**6), "f4", chunks=(1, 10**6)),
    )
    data = open_data(spec, None)
    tracemalloc.start()
    batch = data.read(5000, 5020)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = batch.inputs["x"].nbytes
    assert held == 80_000_000
    assert peak < held + 3 * 2**25


def test_hdf5_chunks_that_are_too_large_to_decode_are_refused(tmp_path):
    spec = planted(
        tmp_path,
        lambda file: file.create_dataset(
            "x", (4, 2**29), "u1", chunks=(4, 2**29), compression="gzip"
        ),
    )
    assert "over 1 GiB" in refused(spec)


def test_hdf5_with_an_unknown_filter_is_refused(tmp_path):
    def plant(file):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 4))
        plist.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((8, 4))
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, space, plist)

    assert "filter 32999" in refused(planted(tmp_path, plant))


def test_hdf5_with_damaged_chunks_is_refused(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (64, 4096), dtype=np.uint8)
    spec = planted(
        tmp_path, lambda file: file.create_dataset("x", data=x, fletcher32=True, chunks=(8, 4096))
    )
    path = tmp_path / "planted.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "is damaged" in refused(spec)


def test_hdf5_is_read_while_another_holds_a_lock(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    spec = planted(tmp_path, lambda file: file.create_dataset("x", data=X))
    with (tmp_path / "planted.h5").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        np.testing.assert_array_equal(read_all(spec).inputs["x"], X)


def test_hdf5_is_closed_until_it_is_read(tmp_path):
    spec = planted(tmp_path, lambda file: file.create_dataset("x", data=X))
    data = open_data(spec, None)
    with h5py.File(tmp_path / "planted.h5", "a") as file:  # fails if it were open for reading
        file["x"][0] = 7
    assert (data.read(0, 1).inputs["x"] == 7).all()


@pytest.mark.parametrize("options", [{}, {"chunks": (3, 1, 5, 4), "compression": "gzip"}])
def test_hdf5_cut_short_anywhere_is_refused(options, tmp_path):
    spec = planted(tmp_path, lambda file: file.create_dataset("x", data=X, **options))
    path = tmp_path / "planted.h5"
    content = path.read_bytes()
    for length in range(1, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        refused(spec)
