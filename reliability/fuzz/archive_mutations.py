"""Mutations of zip archives: npz files, TorchScript and programs of torch.export."""

import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable

from numpy.random import Generator

from reliability.fuzz.byte_mutations import mutated_bytes
from reliability.fuzz.table_mutations import mutated_table
from reliability.fuzz.values import integer, one_of, text

Members = list[tuple[str, bytes]]


def mutated_archive(content: bytes, rng: Generator) -> bytes:
    """Return an archive with one or two members changed, or with bytes of the whole changed."""
    if rng.random() < 0.2:
        return mutated_bytes(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    for _ in range(int(rng.integers(1, 3))):
        one_of(rng, MUTATIONS)(members, rng)
    packing = one_of(rng, (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", packing) as archive:
        warnings.simplefilter("ignore")  # that a name is there twice
        for name, member in members:
            archive.writestr(name, member)
    return stream.getvalue()


def _change(members: Members, rng: Generator) -> None:
    """Change one member as what it is: JSON, an array, code or bytes."""
    index = int(rng.integers(len(members)))
    name, content = members[index]
    if name.endswith(".json"):
        table = json.loads(content)
        content = json.dumps(mutated_table(table, rng)).encode()
    elif name.endswith(".npy"):
        content = mutated_array(content, rng)
    elif name.endswith(".py"):
        content = _changed_code(content, rng)
    else:
        content = mutated_bytes(content, rng)
    members[index] = name, content


def _drop(members: Members, rng: Generator) -> None:
    if len(members) > 1:
        del members[int(rng.integers(len(members)))]


def _repeat(members: Members, rng: Generator) -> None:
    name, _ = one_of(rng, members)
    _, content = one_of(rng, members)
    members.append((name, content))


def _rename(members: Members, rng: Generator) -> None:
    index = int(rng.integers(len(members)))
    name, content = members[index]
    folder, _, last = name.rpartition("/")
    names = (text(rng).replace("\0", "") or "x", f"../{name}", f"/{name}", f"{folder}/y{last}")
    members[index] = one_of(rng, names), content


MUTATIONS: tuple[Callable[[Members, Generator], None], ...] = (
    _change,
    _change,
    _change,
    _change,
    _drop,
    _rename,
    _repeat,
)


def mutated_array(content: bytes, rng: Generator) -> bytes:
    """Return an npy file with another header, or with bytes changed."""
    if rng.random() < 0.4 or not content.startswith(b"\x93NUMPY"):
        return mutated_bytes(content, rng)
    size = int.from_bytes(content[8:10], "little")
    header, numbers = content[10 : 10 + size].decode("latin-1"), content[10 + size :]
    dtypes = ("<f8", ">f4", "<i2", "|b1", "|O", "<U7", "|V9", "<c8", "<M8[s]", "|S0", "<f2", "bad")
    shapes = (str(integer(rng)), "0", "", "1,", "23, 20", "True", "2**9", f"{integer(rng)}, 1")
    header = one_of(
        rng,
        (
            re.sub(r"'descr': '[^']*'", f"'descr': '{one_of(rng, dtypes)}'", header),
            re.sub(r"\(.*\)", f"({one_of(rng, shapes)})", header),
            header.replace("False", "True"),
            header.replace("'shape'", "'shade'"),
            header[: int(rng.integers(len(header) + 1))],
        ),
    )
    version = one_of(rng, (b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\x09\0"))
    encoded = header.encode("latin-1")
    width = 2 if version == b"\1\0" else 4
    return b"\x93NUMPY" + version + len(encoded).to_bytes(width, "little") + encoded + numbers


def _changed_code(content: bytes, rng: Generator) -> bytes:
    """Return TorchScript code with a number, a name or a line changed."""
    lines = content.decode().splitlines(keepends=True)
    index = int(rng.integers(len(lines)))
    way = rng.integers(4)
    if way == 0:
        lines[index] = re.sub(r"\d+", str(integer(rng)), lines[index])
    elif way == 1:
        del lines[index]
    elif way == 2:
        lines.insert(index, one_of(rng, lines))
    else:
        lines[index] = re.sub(r"torch\.\w+", f"torch.{text(rng)[:9]}", lines[index])
    return "".join(lines).encode()
