"""Attacks by data: archives and pictures that explode, pickles, links out of HDF5, odd specs."""

import os
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from reliability.attacks.attempt import HOSTILE, LITTLE, Attack
from reliability.attacks.models import Trap
from reliability.fuzz.picture_mutations import SIGNATURE

FEW = ("analyze", "net.onnx", "--examples", "8", "--no-cache", "--data")
READ = ("activations", "net.onnx", "-o", "out.h5", "--data")
SHAPE = (40, 1, 12, 12)


def _header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


def _npz(folder: Path, *, shape: str, zeros: int = 0, name: str = "x.npy") -> Sequence[str]:
    """Write an archive of an array of zeros that is small on the disk."""
    with (
        zipfile.ZipFile(folder / "evil.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as member,
    ):
        member.write(_header(shape))
        for _ in range(zeros):
            member.write(bytes(1 << 20))
    return (*FEW, "npz:evil.npz")


def _members(folder: Path, names: Sequence[str]) -> Sequence[str]:
    with warnings.catch_warnings(), zipfile.ZipFile(folder / "evil.npz", "w") as archive:
        warnings.simplefilter("ignore")  # that a name is there twice
        for name in names:
            archive.writestr(name, _header(str(SHAPE)) + bytes(4 * int(np.prod(SHAPE))))
    return (*READ, "npz:evil.npz")


def _pickled(folder: Path, name: str) -> Sequence[str]:
    array = np.array([Trap(), Trap()], dtype=object)
    if name.endswith("npz"):
        np.savez(folder / name, x=array, y=array)
    elif name.endswith("npy"):
        np.save(folder / name, array, allow_pickle=True)
    else:
        content = pickle.dumps({b"data": Trap(), b"labels": [Trap()]}, protocol=2)
        (folder / name).write_bytes(content)
        return (*READ, "cifar10:.")
    return (*READ, f"{name[-3:]}:{name}")


def _png(width: int, height: int, pixels: bytes) -> bytes:
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(pixels, 9)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _picture(folder: Path, content: bytes, name: str = "a.png") -> Sequence[str]:
    (folder / "pictures").mkdir()
    (folder / "pictures" / name).write_bytes(content)
    Image.new("L", (12, 12)).save(folder / "pictures" / "b.png")
    return (*READ, "images:pictures?colours=grey&size=12x12")


def _linked_picture(folder: Path, target: str) -> Sequence[str]:
    command = _picture(folder, b"")
    (folder / "pictures" / "a.png").unlink()
    if target == "pipe":
        os.mkfifo(folder / "pictures" / "a.png")
    else:
        (folder / "pictures" / "a.png").symlink_to(target)
    return command


def _hdf5(folder: Path, plant: Callable[[h5py.File, Path], None]) -> Sequence[str]:
    with h5py.File(folder / "evil.h5", "w") as file:
        plant(file, folder.with_name("outside") / "secret.h5")
    return (*READ, "hdf5:evil.h5")


def _external_link(file: h5py.File, secret: Path) -> None:
    file["x"] = h5py.ExternalLink(str(secret), "x")


def _external_storage(file: h5py.File, secret: Path) -> None:
    place = secret.with_name("secret.bin")
    file.create_dataset("x", (7, 1, 12, 12), "f4", external=[(str(place), 0, 4032)])


def _virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource(secret, "x", SHAPE)
    file.create_virtual_dataset("x", layout)


def _soft_loop(file: h5py.File, secret: Path) -> None:
    del secret
    file["x"], file["y"] = h5py.SoftLink("/y"), h5py.SoftLink("/x")


def _references(file: h5py.File, secret: Path) -> None:
    file["z"] = np.zeros(3)
    file.create_dataset("x", data=[file["z"].ref] * 40, dtype=h5py.ref_dtype)
    del secret


def _claims(file: h5py.File, secret: Path) -> None:
    del secret
    file.create_dataset("x", (1 << 40, 1, 12, 12), "f4", chunks=(1, 1, 12, 12))


def _strings(file: h5py.File, secret: Path) -> None:
    del secret
    file.create_dataset("x", data=["a" * 1000] * 40, dtype=h5py.string_dtype())


def _deep(file: h5py.File, secret: Path) -> None:
    group = file
    for _ in range(500):
        group = group.create_group("g")
    file["x"] = h5py.SoftLink("/" + "g/" * 500)
    del secret


def _part_link(folder: Path, name: str) -> Sequence[str]:
    """Put a link where an unfinished file of activations would be written."""
    (folder / name).symlink_to(folder.with_name("outside") / "secret.h5")
    return (*READ, "npz:x.npz")


def _spec(folder: Path, spec: str) -> Sequence[str]:
    del folder
    return (*READ, spec)


def _gz_bomb(folder: Path) -> Sequence[str]:
    import gzip

    head = struct.pack(">iiii", 0x803, 1 << 22, 12, 12)
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz", "wb", 9) as file:
        file.write(head)
        for _ in range(576):
            file.write(bytes(1 << 20))
    return (*FEW, "idx:.")


HUGE = "(" + "9" * 30 + ",)"
ATTACKS: dict[str, Attack] = {
    "npz that unpacks to 576 MiB": Attack(
        partial(_npz, shape="(1048576, 1, 12, 12)", zeros=576), limits=LITTLE
    ),
    "npz that claims 10^30 entries": Attack(partial(_npz, shape=HUGE), refused=True),
    "npz header of 5,000 brackets": Attack(partial(_npz, shape="(" * 5000), refused=True),
    "npz of escaping names": Attack(
        partial(_members, names=("../../outside/x.npy", "/x.npy", "x.npy", "../pwned"))
    ),
    "npz of a name twice": Attack(partial(_members, names=("x.npy", "x.npy"))),
    "npz of a hostile name": Attack(partial(_members, names=(f"{HOSTILE}.npy",)), refused=True),
    **{
        f"pickle in {name}": Attack(partial(_pickled, name=name), refused=True)
        for name in ("evil.npz", "evil.npy", "test_batch")
    },
    "PNG of 60,000 x 60,000": Attack(
        partial(_picture, content=_png(60_000, 60_000, bytes(1 << 20))), refused=True
    ),
    "PNG of 12,000 x 12,000 zeros": Attack(
        partial(_picture, content=_png(12_000, 12_000, bytes(12_001 * 12_000)))
    ),
    "PNG of no size": Attack(partial(_picture, content=_png(0, 0, b"")), refused=True),
    "PostScript named as PNG": Attack(
        partial(
            _picture,
            content=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 12\n(pwned) (w) file\n",
        ),
        refused=True,
    ),
    "SVG named as PNG": Attack(
        partial(_picture, content=b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>'),
        refused=True,
    ),
    "picture of a hostile name": Attack(
        partial(_picture, content=b"no picture", name=HOSTILE.replace("/", "-") + ".png"),
        refused=True,
    ),
    **{
        f"picture that is {name}": Attack(partial(_linked_picture, target=target), refused=True)
        for name, target in {
            "/dev/zero": "/dev/zero",
            "a pipe": "pipe",
            "a text outside": "../../outside/secret.txt",
            "a link to itself": "a.png",
        }.items()
    },
    **{
        f"HDF5: {name}": Attack(partial(_hdf5, plant=plant), refused=True)
        for name, plant in {
            "external link": _external_link,
            "external storage": _external_storage,
            "virtual data set": _virtual,
            "circle of links": _soft_loop,
            "references": _references,
            "2^40 rows": _claims,
            "texts": _strings,
            "500 groups deep": _deep,
        }.items()
    },
    **{
        f"link at {name}": Attack(partial(_part_link, name=name))
        for name in ("out.h5.part", "out.h5.part.new", ".out.h5.lock", "out.h5.lock")
    },
    "IDX that unpacks to 576 MiB": Attack(_gz_bomb, limits=LITTLE),
    **{
        f"spec {spec[:40]!r}": Attack(partial(_spec, spec=spec), refused=True)
        for spec in (
            "http://example.com/x.npz",
            "npz:http://example.com/x.npz",
            "file:///etc/passwd",
            "npz:|touch pwned",
            "npz:$(touch pwned)",
            "npz:/etc/passwd",
            "npz:/dev/zero",
            "npz:/proc/self/environ",
            "npy:../outside/secret.txt",
            "images:~root",
            "images:/proc",
            "idx:/etc",
            "os:system",
            "frivkit_datasets:os",
            "../x:y",
            "npz:x.npz?n=-1",
            "npz:x.npz?n=" + "9" * 5000,
            "npz:x.npz?size=100000x100000",
            "npz:x.npz?scale=1/0",
            "npz:x.npz?mean=" + ",".join(["1"] * 5000),
            "npz:x.npz?x=%00%1b[2J",
            f"npz:{HOSTILE}",
            HOSTILE,
            "gaussian?shape=100000x100000x100000",
            f"gaussian?n={10**30}",
            "teacher?d=1000000000000",
            "npz:" + "a" * 5000,
            "?",
            ":",
            "",
        )
    },
}
