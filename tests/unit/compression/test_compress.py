"""The laws of compression: what is planned is met, what is superfluous leaves free, and no more."""

from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frivkit.compression.budget import Budget
from frivkit.compression.compress import compress
from frivkit.compression.constraints import Constraints
from frivkit.compression.linear_consumers import (
    distinct_sources,
    find_linear_consumers,
)
from frivkit.compression.method import Method
from frivkit.compression.patch_moments import accumulate_patch_moments
from frivkit.compression.plan import Plan, apply_plan, keep_all, ridge_fits
from frivkit.data import open_data
from frivkit.data.subset import Subset, split
from frivkit.errors import DataError, ModelError, UsageError
from frivkit.graph.instrument.perturb import check_names
from frivkit.graph.sites.groups import analyze_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request
from frivkit.runtime.execution import Execution
from tests.draws import generator
from tests.nets import NETS, examples, network, opened
from tests.planning import ANY_WIDTH, SELECT, allocator, calibrated
from tests.surgery import as_model, close, run
from tests.unit.units.test_perturbations import SITELESS
from tests.unit.units.test_perturbations import run as run_plain

NAMES = [name for name in NETS if name not in SITELESS]
GENERATOR = generator(3)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Let each test draw the same, whichever run before it."""
    GENERATOR.bit_generator.state = np.random.default_rng(3).bit_generator.state


def write_layers(path: Path, *weights: np.ndarray, biases: tuple[np.ndarray, ...] = ()) -> Path:
    """Write a net of dense layers with ReLUs between."""
    nodes, tensors, name = [], [], "x"
    for i, weight in enumerate(weights):
        bias = biases[i] if biases else np.zeros(weight.shape[1])
        tensors += [
            numpy_helper.from_array(weight.astype(np.float32), f"l{i}.weight"),
            numpy_helper.from_array(bias.astype(np.float32), f"l{i}.bias"),
        ]
        last = i == len(weights) - 1
        made = "y" if last else f"a{i}"
        nodes.append(helper.make_node("Gemm", [name, f"l{i}.weight", f"l{i}.bias"], [made]))
        if not last:
            nodes.append(helper.make_node("Relu", [made], [f"h{i}"]))
            name = f"h{i}"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", weights[0].shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", weights[-1].shape[1]])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def write_data(path: Path, columns: int, n: int = 400) -> str:
    np.savez(path, x=np.random.default_rng(9).normal(size=(n, columns)).astype(np.float32))
    return f"npz:{path}"


def widths(path: Path) -> list[int]:
    weights = {t.name: t.dims for t in onnx.load(path).graph.initializer}
    return [dims[1] for name, dims in sorted(weights.items()) if name.endswith("weight")]


def duplicated(times: int = 3) -> list[np.ndarray]:
    """Return layers whose hidden units are there several times, under other factors."""
    first, second, third = (GENERATOR.normal(size=size) for size in [(6, 5), (5, 4), (4, 3)])
    factors = GENERATOR.uniform(0.5, 2, size=5 * times)
    wide = np.tile(first, times) * factors
    again = np.tile(second / times, (times, 1)) / factors[:, np.newaxis]
    return [wide, np.tile(again, times), np.tile(third / times, (times, 1))]


def test_copies_leave_and_nothing_changes(tmp_path):
    biases = np.zeros(15), np.zeros(12), np.array([0.3, -0.2, 0.1])  # no ties where all is off
    model = write_layers(tmp_path / "m.onnx", *duplicated(), biases=biases)
    data = write_data(tmp_path / "x.npz", 6)
    compressed = tmp_path / "thin.onnx"
    made = compress(Request(model, data=data), compressed, Budget("tolerance", 1e-3), method=SELECT)
    assert widths(model) == [15, 12, 3]
    assert widths(compressed) == [5, 4, 3]
    assert made.verification.comparison.agreement.share == 1.0
    assert made.verification.comparison.main.relative_l2 < 1e-3


def test_linear_combinations_fold_into_what_they_combine(tmp_path):
    first = np.abs(GENERATOR.normal(size=(6, 4)))  # positive on positive data: all units linear
    mixed = np.hstack([first, first @ np.abs(GENERATOR.normal(size=(4, 6)))])
    model = write_layers(tmp_path / "m.onnx", mixed, GENERATOR.normal(size=(10, 3)))
    x = np.abs(np.random.default_rng(1).normal(size=(300, 6))).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    request = Request(model, data=f"npz:{tmp_path / 'x.npz'}")
    made = compress(request, tmp_path / "thin.onnx", Budget("tolerance", 1e-3))
    assert widths(tmp_path / "thin.onnx")[0] <= 4
    assert made.verification.comparison.agreement.share == 1.0


def test_dead_and_constant_units_leave_free(tmp_path):
    first, second = GENERATOR.normal(size=(6, 9)), GENERATOR.normal(size=(9, 3))
    bias = np.zeros(9)
    first[:, 3:6], bias[3:5], bias[5] = 0, -1, 2  # two dead, one always 2
    model = write_layers(tmp_path / "m.onnx", first, second, biases=(bias, np.zeros(3)))
    request = Request(model, data=write_data(tmp_path / "x.npz", 6))
    compressed = tmp_path / "thin.onnx"
    made = compress(request, compressed, Budget("tolerance", 1e-6))
    assert widths(compressed)[0] == 6
    flags = made.plan.keep["h0"]
    assert flags.tolist() == [True] * 3 + [False] * 3 + [True] * 3
    assert made.verification.comparison.main.relative_l2 < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_full_width_is_the_model_and_a_narrow_one_runs(name, tmp_path):
    shape = {"input_shape": "1x3x6x6"} if name == "cnn of any size" else {}
    model = opened(network(name), tmp_path / "m.onnx", **shape)
    inputs = examples(model, 12)
    file = {f"{key}" if len(inputs) > 1 else "x": array for key, array in inputs.items()}
    np.savez(tmp_path / "x.npz", **file)
    found = calibrated(model, f"npz:{tmp_path / 'x.npz'}")
    free = found.pruning_graph.groups.free.any()
    with nullcontext() if free else pytest.raises(ModelError, match="can be removed"):
        plans = allocator(found)
    if not free:
        return
    whole = keep_all(found)
    assert ridge_fits(found, Plan(whole, 0.0)) == ()
    batch = {key: array[: model.batch or 3] for key, array in inputs.items()}
    close(run(apply_plan(found, Plan(whole, 0.0)), batch), run(model.ir, batch), 1e-6)
    for ranking in plans.moves.units:
        assert (np.diff(ranking.errors) >= -1e-9).all()
    for share in (0.9, 0.5, 0.2):
        try:
            narrow = plans.for_budget("units", share)
        except ModelError:  # fewer than can be left
            continue
        compressed = apply_plan(found, replace(narrow, fits=ridge_fits(found, narrow)))
        check_names(as_model(compressed, model))  # else frivkit would refuse what it wrote
        outputs = run(compressed, batch)
        assert all(np.isfinite(output.astype(np.float64)).all() for output in outputs)


@pytest.mark.parametrize("kind", ["macs", "params", "units"])
@pytest.mark.parametrize("share", [0.7, 0.4])
def test_budgets_are_met_and_not_by_far(kind, share, tmp_path):
    sizes = [(8, 40), (40, 30), (30, 5)]
    model = write_layers(tmp_path / "m.onnx", *(GENERATOR.normal(size=s) for s in sizes))
    request = Request(model, data=write_data(tmp_path / "x.npz", 8))
    compressed = tmp_path / "thin.onnx"
    compress(request, compressed, Budget(kind, share), method=SELECT, constraints=ANY_WIDTH)
    before, after = [8, *widths(model)], [8, *widths(compressed)]

    def cost(w):
        pairs = list(pairwise(w))
        if kind == "units":
            return sum(w[1:-1])
        return sum(a * b + (b if kind == "params" else 0) for a, b in pairs)

    assert share - 0.05 < cost(after) / cost(before) <= share


def test_widths_are_rounded_to_multiples_within_the_budget(tmp_path):
    sizes = [(8, 40), (40, 32), (32, 5)]
    model = write_layers(tmp_path / "m.onnx", *(GENERATOR.normal(size=s) for s in sizes))
    request = Request(model, data=write_data(tmp_path / "x.npz", 8))
    compressed = tmp_path / "thin.onnx"
    eights = Constraints(round_to=8)
    compress(request, compressed, Budget("macs", 0.5), method=SELECT, constraints=eights)
    after = widths(compressed)[:-1]
    assert all(width % 8 == 0 for width in after)
    pairs = list(pairwise([8, *widths(compressed)]))
    assert sum(a * b for a, b in pairs) <= 0.5 * sum(a * b for a, b in sizes)
    found = compress(request, None, Budget("tolerance", 0.3), method=SELECT, constraints=eights)
    kept = {int(flags.sum()) for flags in found.plan.keep.values()}
    assert kept < {8, 16, 24, 32, 40}  # a tolerance keeps to them, too


def test_biases_that_refits_add_count_in_a_budget_of_parameters(tmp_path):
    model = onnx.ModelProto()
    model.CopyFrom(network("cnn"))
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) == 3:
            del node.input[2]
    onnx.save(model, tmp_path / "m.onnx")
    before = sum(int(np.prod(t.dims)) for t in model.graph.initializer if t.data_type == 1)
    opened_model = opened(model, tmp_path / "m.onnx")
    shape = opened_model.inputs[0].shape
    x = np.random.default_rng(0).normal(size=(60, *shape)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    request = Request(tmp_path / "m.onnx", data=f"npz:{tmp_path / 'x.npz'}")
    for share in np.linspace(0.3, 0.9, 7):
        compress(request, tmp_path / "thin.onnx", Budget("params", float(share)))
        compressed = onnx.load(tmp_path / "thin.onnx").graph.initializer
        after = sum(int(np.prod(t.dims)) for t in compressed if t.data_type == 1)
        assert after <= share * before


@pytest.mark.parametrize("examples", [20, 60, 240])
def test_few_examples_of_a_wide_layer_are_fitted_and_better_than_cut(examples, tmp_path):
    rows = 400  # as many columns, more than there are examples
    first, second = GENERATOR.normal(size=(12, rows)), GENERATOR.normal(size=(rows, 30))
    model = write_layers(tmp_path / "m.onnx", first, second, GENERATOR.normal(size=(30, 4)))
    verification = write_data(tmp_path / "proof.npz", 12, 300)
    np.savez(tmp_path / "x.npz", x=GENERATOR.normal(size=(examples, 12)).astype(np.float32))
    request = Request(model, data=f"npz:{tmp_path / 'x.npz'}")
    errors = {}
    for how in ("relu", "none"):
        made = compress(
            request,
            tmp_path / "thin.onnx",
            Budget("units", 0.3),
            verify_data=verification,
            method=Method("select", refit=how),
        )
        errors[how] = made.verification.comparison.main.relative_l2
    assert errors["relu"] < errors["none"]


def test_what_cannot_be_refitted_holds_what_it_reads(tmp_path):
    model = onnx.load(write_layers(tmp_path / "m.onnx", *duplicated()))
    weight = next(t for t in model.graph.initializer if t.name == "l1.weight")
    array = numpy_helper.to_array(weight)
    step = np.abs(array).max() / np.float32(127)
    whole = np.round(array / step).astype(np.int8)
    model.graph.initializer.remove(weight)
    for name, constant in (("whole", whole), ("step", step)):
        model.graph.initializer.append(numpy_helper.from_array(constant, name))
    node = helper.make_node("DequantizeLinear", ["whole", "step"], ["l1.weight"])
    model.graph.node.insert(0, node)
    onnx.save(model, tmp_path / "m.onnx")
    request = Request(tmp_path / "m.onnx", data=write_data(tmp_path / "x.npz", 6))
    found = compress(request, None, Budget("tolerance", 1e-3))
    assert found.plan.keep["h0"].all()
    assert "quantized weights (int8)" in found.locked_layers["l0"]
    assert found.plan.keep["h1"].sum() == 4


def test_a_weight_that_is_not_a_number_holds_what_it_reads(tmp_path):
    first, second, third = duplicated()
    second[2, 1] = np.nan
    second[:, 1] = np.nan
    third[1] = 0
    model = write_layers(tmp_path / "m.onnx", first, second, third)
    request = Request(model, data=write_data(tmp_path / "x.npz", 6))
    with pytest.raises(ModelError, match="not finite"):
        compress(request, None, Budget("units", 0.5))


def test_outputs_that_overflow_are_named(tmp_path):
    model = onnx.load(write_layers(tmp_path / "m.onnx", *duplicated()))
    for tensor in model.graph.initializer:
        weight = numpy_helper.to_array(tensor) * (1e38 if tensor.name == "l2.weight" else 1)
        tensor.CopyFrom(numpy_helper.from_array(weight.astype(np.float32), tensor.name))
    onnx.save(model, tmp_path / "m.onnx")
    request = Request(tmp_path / "m.onnx", data=write_data(tmp_path / "x.npz", 6))
    with pytest.raises(ModelError, match="'y' holds activations that are not finite"):
        compress(request, None, Budget("macs", 0.5))


def test_a_single_bias_for_all_outputs_is_refitted(tmp_path):
    model = onnx.load(write_layers(tmp_path / "m.onnx", *duplicated()))
    for tensor in model.graph.initializer:
        if tensor.name == "l1.bias":
            tensor.CopyFrom(numpy_helper.from_array(np.float32([0.5]), "l1.bias"))
    onnx.save(model, tmp_path / "m.onnx")
    request = Request(tmp_path / "m.onnx", data=write_data(tmp_path / "x.npz", 6))
    made = compress(request, tmp_path / "thin.onnx", Budget("tolerance", 1e-3))
    assert made.plan.keep["h0"].sum() == 5
    assert made.verification.comparison.main.relative_l2 < 1e-2


def test_errors_of_tokens_are_judged_by_the_variance_of_units(tmp_path):
    model = opened(network("tokens"), tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(40, *model.inputs[0].shape)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    data = open_data(f"npz:{tmp_path / 'x.npz'}", model.inputs)
    linear_consumers = find_linear_consumers(
        model, find_sites(model), analyze_groups(model, find_sites(model))
    )
    last = [r for r in linear_consumers if r.consumer.op == "MatMul"]
    meets = {linear_consumer.error_tensor: -1 for linear_consumer in last}
    _, spreads = accumulate_patch_moments(
        model,
        distinct_sources(last),
        data,
        Execution(memory=1 << 28, threads=1),
        tensor_axes=meets,
    )
    for name in meets:
        tensor = run_plain(network("tokens"), [name], {model.inputs[0].name: x})[0]
        units = tensor.reshape(-1, tensor.shape[-1])
        assert spreads[name].variance == pytest.approx(units.var(axis=0).sum(), rel=1e-4)
    assert meets


@pytest.mark.parametrize("name", ["cnn of four"])
def test_an_agreement_is_searched_for_at_a_fixed_batch_too(name, tmp_path):
    model = opened(network(name), tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(403, *model.inputs[0].shape)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    request = Request(tmp_path / "m.onnx", data=f"npz:{tmp_path / 'x.npz'}")
    made = compress(request, tmp_path / "thin.onnx", Budget("agreement", 0.3))
    assert made.verification.comparison.agreement.share > 0.3


def test_a_layer_of_one_unit_is_no_obstacle(tmp_path):
    model = write_layers(
        tmp_path / "m.onnx", GENERATOR.normal(size=(6, 1)), np.zeros((1, 4)), np.eye(4)[:, :3]
    )
    request = Request(model, data=write_data(tmp_path / "x.npz", 6))
    found = compress(request, None, Budget("tolerance", 0.2))
    assert found.plan.keep["h0"].tolist() == [True]
    assert found.plan.keep["h1"].sum() == 1


def test_weights_in_nodes_count_in_a_budget_of_parameters(tmp_path):
    path = write_layers(
        tmp_path / "m.onnx", *(GENERATOR.normal(size=s) for s in [(8, 20), (20, 4)])
    )
    model = onnx.load(path)
    for tensor in list(model.graph.initializer):
        node = helper.make_node("Constant", [], [tensor.name], value=tensor)
        model.graph.initializer.remove(tensor)
        model.graph.node.insert(0, node)
    onnx.save(model, path)
    request = Request(path, data=write_data(tmp_path / "x.npz", 8))
    made = compress(request, tmp_path / "thin.onnx", Budget("params", 0.6))
    assert (
        made.verification.compressed.model.parameters
        <= 0.6 * made.verification.original.model.parameters
    )


def test_too_few_examples_to_search_by_are_refused(tmp_path):
    model = write_layers(tmp_path / "m.onnx", *duplicated())
    data = write_data(tmp_path / "x.npz", 6, 3)
    request = Request(model, data=data)
    with pytest.raises(DataError, match="give 8 or more"):
        compress(request, None, Budget("agreement", 0.9), verify_data=data)


def test_permuted_units_give_the_same_plan(tmp_path):
    first, second = GENERATOR.normal(size=(6, 12)), GENERATOR.normal(size=(12, 3))
    order = GENERATOR.permutation(12)
    data = write_data(tmp_path / "x.npz", 6)
    plans = []
    for i, (a, b) in enumerate([(first, second), (first[:, order], second[order])]):
        model = write_layers(tmp_path / f"{i}.onnx", a, b)
        found = compress(Request(model, data=data), None, Budget("units", 0.5))
        plans.append(found.plan.keep["h0"])
    np.testing.assert_array_equal(plans[0][order], plans[1])


def test_refitting_beats_slicing(tmp_path):
    sizes = [(10, 60), (60, 60), (60, 8)]
    model = write_layers(tmp_path / "m.onnx", *(GENERATOR.normal(size=s) for s in sizes))
    request = Request(model, data=write_data(tmp_path / "x.npz", 10, 1500))
    errors = {}
    for how in ("relu", "ridge", "none"):
        made = compress(
            request,
            tmp_path / f"{how}.onnx",
            Budget("macs", 0.5),
            method=Method("select", refit=how),
        )
        errors[how] = made.verification.comparison.main.relative_l2
    assert errors["relu"] < errors["ridge"] < 0.5 * errors["none"]


def test_an_agreement_is_met_by_the_smallest_model_that_is_sure_of_it(tmp_path):
    biases = np.zeros(30), np.zeros(24), np.array([0.3, -0.2, 0.1])
    model = write_layers(tmp_path / "m.onnx", *duplicated(6), biases=biases)
    request = Request(model, data=write_data(tmp_path / "x.npz", 6, 2000))
    made = compress(request, tmp_path / "thin.onnx", Budget("agreement", 0.95), method=SELECT)
    assert made.verification.comparison.agreement.share > 0.95
    assert sum(widths(tmp_path / "thin.onnx")[:-1]) <= 18  # of 54, and 9 would do


def test_a_budget_that_cannot_be_met_names_the_smallest_that_can(tmp_path):
    model = write_layers(tmp_path / "m.onnx", GENERATOR.normal(size=(6, 2)), np.eye(2))
    request = Request(model, data=write_data(tmp_path / "x.npz", 6))
    with pytest.raises(ModelError, match=r"smallest model has 0\.5"):
        compress(request, tmp_path / "thin.onnx", Budget("macs", 0.1))
    assert not (tmp_path / "thin.onnx").exists()


def test_what_would_not_be_smaller_is_refused(tmp_path):
    model = write_layers(tmp_path / "m.onnx", np.eye(3), np.eye(3))
    request = Request(model, data=write_data(tmp_path / "x.npz", 3))
    with pytest.raises(ModelError, match="nothing would be smaller"):
        compress(request, tmp_path / "thin.onnx", Budget("tolerance", 1e-3))


@pytest.mark.parametrize(("kind", "share"), [("macs", 0), ("macs", 1.5), ("agreement", 1)])
def test_budgets_that_mean_nothing_are_refused(kind, share):
    with pytest.raises(UsageError, match="between 0 and 1"):
        Budget(kind, share)


def test_examples_of_the_proof_are_none_of_the_others(tmp_path):
    x = np.arange(23, dtype=np.float32)[:, np.newaxis]
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(23))
    data = open_data(f"npz:{tmp_path / 'x.npz'}", None)
    fitted, verification = split(data)
    seen = [
        part.read(0, part.examples).inputs["x"].ravel().tolist() for part in (fitted, verification)
    ]
    assert [number // 4 for number in seen[1]][:5] == [0, 1, 2, 3, 4]  # one of each four
    assert len({number % 4 for number in seen[1]}) > 1  # and not always the same
    assert sorted(seen[0] + seen[1]) == list(range(23))
    assert fitted.digest != verification.digest
    part = Subset(data, np.array([1, 2, 5]), "some")
    batches = list(part.batches(2))
    assert [batch.labels.tolist() for batch in batches] == [[1, 2], [5]]
    assert [batch.first for batch in batches] == [0, 2]


def test_a_split_whose_new_bias_eats_up_what_it_saves_is_refused(tmp_path):
    model = onnx.load(
        write_layers(tmp_path / "m.onnx", GENERATOR.normal(size=(2, 3)), np.ones((3, 3)))
    )
    reader = next(node for node in model.graph.node if "l1.bias" in node.input)
    reader.CopyFrom(helper.make_node("MatMul", list(reader.input)[:2], list(reader.output)))
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "l1.bias"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, tmp_path / "m.onnx")
    request = Request(tmp_path / "m.onnx", data=write_data(tmp_path / "x.npz", 2))
    with pytest.raises(ModelError, match="get no smaller"):  # 3 + 3 numbers and 3 new for 9
        compress(
            request, tmp_path / "t.onnx", Budget("tolerance", 1e-3), method=Method(basis="pca")
        )
    assert not (tmp_path / "t.onnx").exists()
