"""Attacks by model files: external data, graphs that explode, names, formats that run code."""

import os
import pickle
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from reliability.attacks.attempt import HOSTILE, LITTLE, Attack
from tests.handmade import written

INSPECT = ("inspect", "evil.onnx")
UNSORTED = ("inspect", "evil.onnx", "-v")
"""Reads a file whose nodes are in another order, which onnx's checker does not accept."""
ANALYZE = ("analyze", "evil.onnx", "--examples", "8", "--json", "result.json", "--report", "p.html")
COMPRESS = ("compress", "evil.onnx", "--data", "gaussian?n=24", "--macs", "0.6", "--no-time")
COMPRESS = (*COMPRESS, "-o", "thin.onnx", "--json", "result.json", "--report", "p.html")


class Trap:
    """Writes ``pwned`` if it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.system, ("touch pwned ../pwned",)


def mlp() -> ModelProto:
    """Return a small network."""
    return written(
        """g (float[N, 8] x) => (float[N, 4] logits) {
          layer = Gemm <transB = 1> (x, v)
          u = Relu (layer)
          logits = Gemm <transB = 1> (u, w)
        }""",
        v=(128, 8),
        w=(4, 128),
    )


def _external(folder: Path, location: str, command: Sequence[str], **more: int) -> Sequence[str]:
    """Let the first weight lie at a location, which may be a link that is made here."""
    model = mlp()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    if command is UNSORTED:
        nodes = list(model.graph.node)[::-1]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    onnx.save(model, folder / "evil.onnx")
    return command


def _linked(folder: Path, kind: str, command: Sequence[str]) -> Sequence[str]:
    secret = folder.with_name("outside") / "secret.bin"
    if kind == "link":
        (folder / "weights").symlink_to(secret)
    elif kind == "folder link":
        (folder / "sub").symlink_to(secret.parent)
    elif kind == "pipe":
        os.mkfifo(folder / "weights")
    elif kind == "folder":
        (folder / "weights").mkdir()
    location = "sub/secret.bin" if kind == "folder link" else "weights"
    return _external(folder, location, command, length=4096)


def _absolute(folder: Path, command: Sequence[str]) -> Sequence[str]:
    place = folder.with_name("outside") / "secret.bin"
    return _external(folder, str(place), command, length=4096)


def _place(folder: Path, kind: str) -> Sequence[str]:
    """Put something else than a file where the model should be."""
    place = folder / "evil.onnx"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "loop of links":
        place.symlink_to("evil.onnx")
    elif kind == "sparse":
        with place.open("wb") as file:
            file.truncate(1 << 33)
    else:
        place.symlink_to(kind)
    return INSPECT


def _saved(folder: Path, model: ModelProto, command: Sequence[str] = INSPECT) -> Sequence[str]:
    (folder / "evil.onnx").write_bytes(model.SerializeToString())
    return command


def _exploding(folder: Path, text: str, command: Sequence[str]) -> Sequence[str]:
    """Write a network whose middle needs far more memory or time than its file suggests."""
    body = f"""g (float[N, 8] x) => (float[N, 4] logits) {{
      layer = Gemm <transB = 1> (x, v)
      u = Relu (layer)
      {text}
      logits = Gemm <transB = 1> (h, w)
    }}"""
    big = np.array([1 << 20, 1 << 20], np.int64)
    model = written(
        body,
        v=(128, 8),
        w=(4, 128),
        big=big,
        huge=np.array([1 << 40], np.int64),
        zero=np.array(0, np.int64),
        one=np.array(1, np.int64),
        far=np.array(1 << 40, np.int64),
    )
    return _saved(folder, model, command)


def _nested(folder: Path, depth: int) -> Sequence[str]:
    """Nest branches of If as deeply as asked for, which onnx itself would not write."""
    out = helper.make_tensor_value_info("y", 1, ["N", 8])
    leaf = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], [out])
    content = plain = leaf.SerializeToString()
    for _ in range(depth):
        branches = [
            _field(1, name) + _field(6, graph) + b"\xa0\x01\x05"  # type = GRAPH
            for name, graph in ((b"then_branch", content), (b"else_branch", plain))
        ]
        node = _field(1, b"c") + _field(2, b"y") + _field(4, b"If")
        node += b"".join(_field(5, branch) for branch in branches)
        content = _field(1, node) + _field(2, b"g") + _field(12, out.SerializeToString())
    condition = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    given = helper.make_tensor_value_info("x", 1, ["N", 8])
    content += _field(5, condition.SerializeToString()) + _field(11, given.SerializeToString())
    model = helper.make_model(leaf, opset_imports=[helper.make_opsetid("", 17)])
    model.ClearField("graph")
    (folder / "evil.onnx").write_bytes(model.SerializeToString() + _field(7, content))
    return INSPECT


def _field(number: int, content: bytes) -> bytes:
    """Return a field of a protocol buffer that holds bytes."""
    size, head = len(content), bytes([number << 3 | 2])
    while size > 127:
        head += bytes([size & 127 | 128])
        size >>= 7
    return head + bytes([size]) + content


def _functions(folder: Path, *, looped: bool) -> Sequence[str]:
    """Write functions that call each other: in a circle, or ten times each, ten deep."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = mlp()
    depth = 2 if looped else 10
    for level in range(depth):
        last = level == depth - 1
        callee = f"F{(level + 1) % depth}" if looped or not last else "Relu"
        domain = "" if callee == "Relu" else "own"
        times = 1 if looped else 10
        names = ["a", *(f"t{n}" for n in range(times - 1)), "b"]
        nodes = [
            helper.make_node(callee, [names[n]], [names[n + 1]], domain=domain)
            for n in range(times)
        ]
        model.functions.append(
            helper.make_function("own", f"F{level}", ["a"], ["b"], nodes, opset_imports=opsets)
        )
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "F0", "own"
    return _saved(folder, model)


def _named(folder: Path, command: Sequence[str]) -> Sequence[str]:
    """Give every node, tensor, input and output a hostile name, and the file metadata of it."""
    model = mlp()
    graph = model.graph
    names = {
        name: f"{HOSTILE}{number}"
        for number, name in enumerate(
            dict.fromkeys(name for node in graph.node for name in (*node.input, *node.output))
        )
    }
    for number, node in enumerate(graph.node):
        node.name = f"{HOSTILE}{number}/{node.op_type}"
        for listed in (node.input, node.output):
            for index, name in enumerate(listed):
                listed[index] = names[name]
    for named in (*graph.initializer, *graph.input, *graph.output):
        named.name = names[named.name]
    graph.name = graph.doc_string = model.producer_name = HOSTILE
    return _saved(folder, model, command)


def _foreign(folder: Path) -> Sequence[str]:
    """Use an operator of a hostile name and domain, so that it is not analysed and named."""
    model = mlp()
    model.graph.node[1].op_type, model.graph.node[1].domain = HOSTILE, HOSTILE
    model.opset_import.append(helper.make_opsetid(HOSTILE, 1))
    return _saved(folder, model)


def _metadata(folder: Path, key: str, value: str) -> Sequence[str]:
    """Let the file name data, or say something, that its reader would open or show."""
    model = written(
        """g (float[N, 1, 12, 12] x) => (float[N, 4] logits) {
          f = Flatten (x)
          layer = Gemm <transB = 1> (f, v)
          u = Relu (layer)
          logits = Gemm <transB = 1> (u, w)
        }""",
        v=(16, 144),
        w=(4, 16),
    )
    model.metadata_props.add(key=key, value=value)
    return _saved(folder, model, ("analyze", "evil.onnx", "--json", "result.json"))


def _shaped(folder: Path, dims: Sequence[int]) -> Sequence[str]:
    """Declare a weight of a gigantic shape, with few bytes."""
    model = mlp()
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    return _saved(folder, model)


def _torch_pickle(folder: Path, name: str, *, trusted: bool) -> Sequence[str]:
    """Write a pickle that runs code, as torch.save did, under a name of a network."""
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps(Trap(), protocol=2))
        archive.writestr("net/version", "3\n")
    return ("inspect", name, "--input-shape", "1x8", *(["--trust"] if trusted else []))


def _bare_pickle(folder: Path, name: str, *, trusted: bool) -> Sequence[str]:
    (folder / name).write_bytes(pickle.dumps(Trap(), protocol=2))
    return ("inspect", name, "--input-shape", "1x8", *(["--trust"] if trusted else []))


def _script_without_trust(folder: Path, name: str) -> Sequence[str]:
    """Write an archive that looks like a network and would run code when it is opened."""
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps(Trap(), protocol=2))
        archive.writestr("net/constants.pkl", pickle.dumps(Trap(), protocol=2))
        archive.writestr("net/code/__torch__.py", "import os\nos.system('touch pwned')\n")
        archive.writestr("net/serialized_exported_program.json", "{}")
    return ("inspect", name, "--input-shape", "1x8")


def _archive_bomb(folder: Path, name: str) -> Sequence[str]:
    """Write an archive whose table of names is fine and whose members unpack to gigabytes."""
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("net/data.pkl", "w", force_zip64=True) as member:
            for _ in range(600):
                member.write(bytes(1 << 20))
        archive.writestr("net/version", "3\n")
    return ("inspect", name, "--trust", "--input-shape", "1x8")


def _sparse_bomb(folder: Path) -> Sequence[str]:
    model = mlp()
    values = helper.make_tensor("v", 1, [1], [1.0])
    indices = helper.make_tensor("v_i", 7, [1], [0])
    sparse = helper.make_sparse_tensor(values, indices, [1 << 20, 1 << 20])
    del model.graph.initializer[0]
    model.graph.sparse_initializer.append(sparse)
    return _saved(folder, model)


def _many_nodes(folder: Path) -> Sequence[str]:
    """Write a chain of 3,000 layers in a file of some hundred kilobytes."""
    nodes = [helper.make_node("Identity", ["x"], ["h0"])]
    nodes += [
        helper.make_node("Gemm", [f"h{n}", "w"], [f"h{n + 1}"], transB=1) for n in range(3000)
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["N", 8])],
        [helper.make_tensor_value_info("h3000", 1, ["N", 8])],
        [numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")],
    )
    return _saved(folder, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


_READERS = {"inspect": INSPECT, "compress": COMPRESS, "unsorted": UNSORTED}
ATTACKS: dict[str, Attack] = {
    **{
        f"external data: {what}, {name}": Attack(plant, refused=True)
        for name, command in _READERS.items()
        for what, plant in {
            "above the folder": partial(
                _external, location="../outside/secret.bin", command=command, length=4096
            ),
            "round about": partial(
                _external, location="sub/../../outside/secret.bin", command=command
            ),
            "absolute": partial(_absolute, command=command),
            "by a link": partial(_linked, kind="link", command=command),
            "by a link of a folder": partial(_linked, kind="folder link", command=command),
            "a pipe": partial(_linked, kind="pipe", command=command),
            "a folder": partial(_linked, kind="folder", command=command),
            "/dev/zero": partial(_external, location="/dev/zero", command=command),
            "a URL": partial(_external, location="file:///etc/passwd", command=command),
            "itself, far behind": partial(
                _external, location="evil.onnx", command=command, offset=1 << 60
            ),
            "negative offset": partial(
                _external, location="x.npz", command=command, offset=-5, length=4096
            ),
            "empty name": partial(_external, location="", command=command),
        }.items()
    },
    **{
        f"place of the model: {kind}": Attack(partial(_place, kind=kind), refused=True)
        for kind in ("pipe", "folder", "loop of links", "sparse", "/dev/zero", "/proc/self/mem")
    },
    **{
        f"graph that explodes: {name}, {reader}": Attack(
            partial(_exploding, text=text, command=command)
        )
        for reader, command in {"inspect": INSPECT, "analyze": ANALYZE}.items()
        for name, text in {
            "Expand": "e = Expand (u, big)\n h = Identity (u)",
            "ConstantOfShape": "e = ConstantOfShape (big)\n m = ReduceMax (e)\n h = Add (u, m)",
            "Range": (
                "r = Range (zero, far, one)\n m = ReduceMax (r)\n f = Cast <to = 1> (m)\n"
                " h = Add (u, f)"
            ),
            "NonZero": "e = ConstantOfShape (huge)\n m = NonZero (e)\n h = Identity (u)",
        }.items()
    },
    "nesting of 20 branches": Attack(partial(_nested, depth=20)),
    "nesting of 300 branches": Attack(partial(_nested, depth=300), refused=True),
    "nesting of 3,000 branches": Attack(partial(_nested, depth=3000), refused=True),
    "functions in a circle": Attack(partial(_functions, looped=True), refused=True),
    "functions of 10^10 nodes": Attack(partial(_functions, looped=False), refused=True),
    "chain of 3,000 layers": Attack(_many_nodes),
    "weight of 2^80 entries": Attack(partial(_shaped, dims=[1 << 40] * 2), refused=True),
    "weight of 2^40 entries": Attack(partial(_shaped, dims=[1 << 20] * 2), refused=True),
    "weight of negative size": Attack(partial(_shaped, dims=[-1, 1024]), refused=True),
    "sparse weight of 2^40 entries": Attack(_sparse_bomb, refused=True),
    **{
        f"hostile names: {name}": Attack(partial(_named, command=command))
        for name, command in {
            "inspect": INSPECT,
            "inspect -v": (*INSPECT, "-v"),
            "analyze": ANALYZE,
            "compress": COMPRESS,
            "dry run": (*COMPRESS[:7], "--dry-run"),
            "verify": ("verify", "evil.onnx", "evil.onnx", "--no-time"),
            "frontier": (
                *("compress", "evil.onnx", "--data", "gaussian?n=40", "--frontier"),
                *("--no-time", "--figure", "f.svg", "--report", "p.html"),
            ),
            "activations": ("activations", "evil.onnx", "--data", "gaussian?n=9", "-o", "out.h5"),
        }.items()
    },
    "hostile operator": Attack(_foreign),
    **{
        f"metadata: {what}": Attack(partial(_metadata, key="frivkit.data", value=value))
        for what, value in {
            "data /etc/passwd": "npz:/etc/passwd",
            "data by a bare path": "/etc/passwd",
            "data above the folder": "npy:../outside/secret.npy",
            "hostile data": HOSTILE,
            "pipe": "npz:/dev/stdin",
            "endless": "npz:/dev/zero",
            "10^15 examples": f"gaussian?n={10**15}",
        }.items()
    },
    **{
        f"pickle: {kind}, {name}, {'trusted' if trusted else 'not trusted'}": Attack(
            partial(plant, name=name, trusted=trusted), refused=True
        )
        for kind, plant in {"archive": _torch_pickle, "bare": _bare_pickle}.items()
        for name in ("net.pt", "net.pt2", "net.onnx")
        for trusted in (False, True)
    },
    **{
        f"program without trust: {name}": Attack(
            partial(_script_without_trust, name=name), refused=True
        )
        for name in ("net.pt", "net.pt2")
    },
    "archive that unpacks to 600 MiB": Attack(
        partial(_archive_bomb, name="net.pt"), refused=True, limits=LITTLE
    ),
}
