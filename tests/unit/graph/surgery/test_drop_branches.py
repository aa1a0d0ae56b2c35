"""The law of left-out branches: what remains computes what the original does with their means."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.nn import functional as fn

from frivkit.errors import ModelError
from frivkit.graph.model import Model, parameters
from frivkit.graph.names import node_label
from frivkit.graph.onnx_io.save import save
from frivkit.graph.sites.branches import ResidualBranch, find_branches
from frivkit.graph.sites.groups import analyze_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.drop_branches import drop_branches
from frivkit.graph.surgery.narrow import narrow
from tests.nets import Wired, conv, examples, exported, head, network, opened
from tests.surgery import batches, check, close, drawn, run


class Inverted(nn.Module):
    """An inverted residual with squeeze and excitation."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.up = nn.Sequential(conv(wide, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.each = nn.Sequential(conv(8, 8, groups=8), nn.BatchNorm2d(8), nn.Hardswish())
        self.squeeze, self.excite = conv(8, 2, 1), conv(2, 8, 1)
        self.down = nn.Sequential(conv(8, wide, 1, bias=False), nn.BatchNorm2d(wide))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.each(self.up(x))
        gate = self.excite(fn.relu(self.squeeze(fn.adaptive_avg_pool2d(made, 1))))
        return x + self.down(made * fn.hardsigmoid(gate))


def mobile() -> onnx.ModelProto:
    return exported(nn.Sequential(conv(3, 4), Inverted(4), Inverted(4), head(4)), (3, 8, 8))


def masked() -> onnx.ModelProto:
    """Two residual branches, the second of which reads a mask that no weights went into."""

    def wire(net, x, mask):
        hidden = net.enter(x)
        hidden = net.n1(hidden + net.b(fn.gelu(net.a(hidden))))
        scores = net.q(hidden) @ net.k(hidden).transpose(1, 2) + (1 - mask) * -5.0
        return net.n2(hidden + net.out(torch.softmax(scores, -1) @ net.v(hidden)))

    return exported(
        Wired(
            wire, enter=nn.Linear(4, 6), a=nn.Linear(6, 9), b=nn.Linear(9, 6), n1=nn.LayerNorm(6),
            q=nn.Linear(6, 6), k=nn.Linear(6, 6), v=nn.Linear(6, 6), out=nn.Linear(6, 6),
            n2=nn.LayerNorm(6),
        ),
        (5, 4), (1, 5),
    )  # fmt: skip


def nested() -> onnx.ModelProto:
    """A branch with a residual block in it, and outputs of the graph at both sums."""

    def wire(net, x):
        inner = net.a(x)
        inner = inner + fn.relu(net.b(inner))
        outer = x + inner
        return outer, net.last(outer) + outer

    layers = {name: conv(4, 4) for name in ("a", "b", "last")}
    return exported(Wired(wire, **layers), (4, 6, 6), outputs=("outer", "y"))


MADE = {"mobile": mobile, "masked": masked, "nested": nested}
FOUND = {
    "residual": 2, "residual by dynamo": 2, "preact": 2, "branched": 1, "attention": 2, "mixer": 1,
    "identity skip": 1, "mobile": 2, "masked": 2, "nested": 3,
}  # fmt: skip
"""The number of branches of networks; others have none."""
WITHOUT = ("cnn", "dense", "inception", "concat add", "gated", "hourglass", "squeeze excite")


def branches_of(name: str, path) -> tuple[Model, tuple[ResidualBranch, ...]]:
    model = opened(MADE[name]() if name in MADE else network(name), path)
    return model, find_branches(model, find_sites(model))


def with_constants(model: ir.Model, means: Mapping[ResidualBranch, np.ndarray]) -> ir.Model:
    """Return the model in which each branch is computed, multiplied by 0, and a mean is added."""
    copy = model.clone()
    for branch, mean in means.items():
        (add,) = (node for node in copy.graph if node_label(node) == branch.add)
        index = [value.name for value in add.inputs].index(branch.output)
        value = add.inputs[index]
        shape = [1] * len(value.shape)
        shape[branch.axis] = -1
        for op, number in (("Mul", np.zeros(1)), ("Add", mean.reshape(shape))):
            name = f"{branch.output} {op}"
            tensor = ir.tensor(number.astype(value.dtype.numpy()), name=f"{name} operand")
            constant = ir.Value(name=tensor.name, const_value=tensor, type=value.type)
            copy.graph.register_initializer(constant)
            node = ir.Node("", op, [value, constant], name=name)
            node.outputs[0].name, node.outputs[0].type = name, value.type
            copy.graph.insert_before(add, node)
            value = node.outputs[0]
        add.replace_input_with(index, value)
    return copy


def means_of(branches, seed=0):
    generator = np.random.default_rng(seed)
    return {branch: generator.normal(size=branch.channels) for branch in branches}


def agree(model: Model, made: ir.Model, means: Mapping[ResidualBranch, np.ndarray]) -> None:
    check(made)
    for count in batches(model):
        feeds = examples(model, count)
        close(run(made, feeds), run(with_constants(model.ir, means), feeds))


@pytest.mark.parametrize("name", FOUND)
def test_a_left_out_branch_is_its_mean(name, tmp_path):
    model, branches = branches_of(name, tmp_path / "m.onnx")
    assert len(branches) == FOUND[name]
    untouched = ir.to_proto(model.ir).SerializeToString(deterministic=True)
    choices = [[branch] for branch in branches] + [list(branches)]
    for chosen in choices:
        means = means_of(chosen)
        made = drop_branches(model.ir, means)
        agree(model, made, means)
        inside = {label for branch in chosen for label in branch.nodes}
        left = [node_label(node) for node in made.graph]
        assert not inside & set(left)
        assert parameters(made.graph) < parameters(model.graph)
    assert ir.to_proto(model.ir).SerializeToString(deterministic=True) == untouched


@pytest.mark.parametrize("name", FOUND)
def test_a_branch_of_zeros_goes_with_its_sum(name, tmp_path):
    model, branches = branches_of(name, tmp_path / "m.onnx")
    means = {branch: np.zeros(branch.channels) for branch in branches}
    made = drop_branches(model.ir, means)
    agree(model, made, means)
    outputs = [value.name for value in made.graph.outputs]
    assert outputs == [value.name for value in model.graph.outputs]
    ops = {node_label(node): node.op_type for node in made.graph}
    assert {ops.get(branch.add, "Identity") for branch in branches} == {"Identity"}
    save(made, tmp_path / "made.onnx", model)
    onnx.checker.check_model(onnx.load(tmp_path / "made.onnx"), full_check=True)


@pytest.mark.parametrize("name", WITHOUT)
def test_other_sums_are_no_residual_blocks(name, tmp_path):
    assert branches_of(name, tmp_path / "m.onnx")[1] == ()


def test_a_branch_that_is_needed_elsewhere_stays(tmp_path):
    def wire(net, x):
        made = fn.relu(net.a(x))
        return net.b(made) + x, made

    shared = Wired(wire, a=conv(4, 5), b=conv(5, 4))
    model = opened(exported(shared, (4, 6, 6), outputs=("y", "made")), tmp_path / "m.onnx")
    assert find_branches(model, find_sites(model)) == ()


def test_a_branch_that_reads_other_features_stays(tmp_path):
    def wire(net, x):
        early = fn.relu(net.a(x))
        late = fn.relu(net.b(early))
        return net.c(torch.cat([early, late], 1)) + late

    skips = Wired(wire, a=conv(3, 4), b=conv(4, 4), c=conv(8, 4))
    model = opened(exported(skips, (3, 6, 6)), tmp_path / "m.onnx")
    assert find_branches(model, find_sites(model)) == ()


def test_a_branch_leaves_a_narrowed_network(tmp_path):
    """The branch is known by the names of tensors, which narrowing keeps."""
    model, branches = branches_of("mobile", tmp_path / "m.onnx")
    there = find_sites(model)
    keep = drawn(analyze_groups(model, there).groups, 2, 0.7)
    compressed = narrow(model, there, keep)
    sizes = {v.name: v.shape for node in compressed.graph for v in node.outputs}
    means = {
        branch: np.random.default_rng(0).normal(size=sizes[branch.output][1]) for branch in branches
    }
    made = drop_branches(compressed, means)
    check(made)
    feeds = examples(model, 3)
    close(run(made, feeds), run(with_constants(compressed, means), feeds))


def test_means_that_do_not_fit_are_refused(tmp_path):
    model, (branch, *_) = branches_of("residual", tmp_path / "m.onnx")
    for mean in (np.ones(3), np.ones((4, 1)), np.float64(1)):
        with pytest.raises(ModelError, match="a number for each channel along axis 1"):
            drop_branches(model.ir, {branch: mean})
    with pytest.raises(ModelError, match="not finite"):
        drop_branches(model.ir, {branch: np.full(4, np.nan)})
    other = ResidualBranch("nobody", "sum", branch.output, branch.skip, (), 1, 4)
    with pytest.raises(ModelError, match="no node called 'nobody' adds"):
        drop_branches(model.ir, {other: np.ones(4)})
