"""The benchmarks' page shows what the benchmarks wrote."""

import json
import sys
from importlib import import_module
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

tables = pytest.importorskip("benchmarks.report.tables", reason="the checkout is not on the path")

ROOT = Path(__file__).parents[2]
LATEST = ROOT / "benchmarks/results/latest.json"


MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported(module):
    """What only a competitor needs is imported where it runs."""
    import_module(module)


def test_page_and_table_are_made_from_the_stored_results():
    made = tables.markdown(json.loads(LATEST.read_text()))
    page = (ROOT / "docs/benchmarks.md").read_text()
    assert (LATEST.with_suffix(".md")).read_text() == made
    assert tables.in_page(page, made) == page


def test_tables_replace_what_stood_between_the_marks():
    page = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    made = tables.in_page(page, "new\n")
    assert made == f"before\n{tables.BEGIN}\n\nnew\n\n{tables.END}\nafter\n"
    assert tables.in_page(made, "new\n") == made


def test_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="lacks"):
        tables.in_page("no marks", "new\n")


def test_every_stored_part_tells_when_and_how_it_was_measured():
    for name, part in json.loads(LATEST.read_text()).items():
        told = tables.markdown({name: part})
        assert f"*{part['setting']['date']}, {part['rounds']} round" in told
        assert f"load {part['load']:.2f} before" in told


def test_parts_measured_with_other_versions_are_told_apart():
    stored = json.loads(LATEST.read_text())
    name, part = next(iter(stored.items()))
    other = json.loads(json.dumps(part))
    other["setting"]["packages"]["numpy"] = "0.0"
    both = tables.markdown({**stored, "spent": stored["spent"], name: other})
    assert f"For {name}:" in both
    assert "For " not in tables.markdown({"spent": stored["spent"]})


def test_a_part_that_is_measured_again_leaves_the_others_alone(tmp_path, monkeypatch):
    runner = pytest.importorskip("benchmarks.__main__")
    page = tmp_path / "page.md"
    page.write_text(f"text\n{tables.BEGIN}\n{tables.END}\n")
    monkeypatch.setattr(runner, "RESULTS", tmp_path)
    monkeypatch.setattr(runner, "PAGE", page)
    stored = json.loads(LATEST.read_text())
    (tmp_path / "latest.json").write_text(json.dumps(stored))
    runner.store("spent", {**stored["spent"], "load": 9.75})
    found = json.loads((tmp_path / "latest.json").read_text())
    assert found.pop("spent")["load"] == 9.75
    assert found == {name: part for name, part in stored.items() if name != "spent"}
    assert "load 9.75 before" in page.read_text()
    assert page.read_text().startswith("text")


def test_stored_curves_agree():
    """A comparison of times means nothing where two sides computed different things."""
    for one in _stored("prunability")["units"].values():
        apart = one["examples_apart"]
        assert apart["frivkit"] == apart["session a mask"] == 0
        assert max(apart["torch hook"], apart["captum"]) <= 5


@pytest.mark.parametrize("part", ["moments", "rows"])
def test_stored_eigenvalues_agree(part):
    for one in _stored(part):
        apart = {name: way["apart"] for name, way in one["ways"].items() if "apart" in way}
        assert len(apart) >= 4
        assert apart.pop("PCA", 0) <= 1e-3, "it sums in float32"
        assert max(apart.values()) <= 1e-5


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_memory_is_what_the_work_took_and_not_what_the_process_held(tmp_path, monkeypatch):
    fresh = pytest.importorskip("benchmarks.measuring.fresh_process")
    (tmp_path / "holding.py").write_text(
        "def hold(megabytes):\n"
        "    return lambda: bytearray(b'x') * (megabytes << 20), lambda held: {'held': len(held)}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = fresh.run_in_process("holding:hold", {"megabytes": 40}, {"megabytes": 80})
    assert told["held"] == 40 << 20
    # Linux counts resident pages in batches for each processor, so a little may be missing.
    assert 39 << 20 <= told["bytes"] < 44 << 20
    assert told["seconds"] > 0


def test_side_that_fails_is_told_with_its_reason(tmp_path, monkeypatch):
    fresh = pytest.importorskip("benchmarks.measuring.fresh_process")
    (tmp_path / "failing.py").write_text("def fail():\n    raise ValueError('out of ink')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit, match="out of ink"):
        fresh.run_in_process("failing:fail", {}, {})


def test_stored_quality_holds_every_side_and_meets_its_budgets():
    for net in _stored("quality"):
        whole, seeds = net["whole"], len(net["whole"]["macs"])
        assert seeds >= 3
        assert set(whole["agreement"]) == {1.0}
        for budget in net["budgets"]:
            kind, sides = budget["kind"], budget["sides"]
            assert {"frivkit", "onnxsim L2 + finetune", "Torch-Pruning Taylor"} <= set(sides)
            for side in sides.values():
                if "agreement" in side:
                    assert len(side["agreement"]) == len(side["accuracy"]) == seeds
                    for left, all_of_it in zip(side[kind], whole[kind], strict=True):
                        assert left <= budget["level"] * all_of_it
                else:
                    assert len(side) == 1, "it says why there is nothing"


def test_stored_quality_is_what_the_picture_shows():
    plot = pytest.importorskip("benchmarks.report.quality_plot")
    drawn = plot.picture(_stored("quality"))
    assert (ROOT / "docs/quality.svg").read_text() == drawn


WHOLE = {"macs": [100, 100], "params": [50, 50], "units": [8, 8], "agreement": [1.0, 1.0]}
WHOLE |= {"accuracy": [0.9, 0.92], "relative_l2": [0.0, 0.0], "examples": 500}
HALF = {**WHOLE, "macs": [50, 48], "agreement": [0.9, 0.98], "accuracy": [0.8, 0.9]}
QUALITY = [
    {
        "net": "small",
        "whole": WHOLE,
        "budgets": [
            {
                "kind": "macs",
                "level": 0.5,
                "sides": {
                    "frivkit": HALF,
                    "onnxsim L2": {**HALF, "macs": [40, 44], "agreement": [0.7, 0.7]},
                    "onnxsim Wanda": {"cannot": 0.91},
                    "Torch-Pruning random": {"absent": "no torch network"},
                    "Torch-Pruning Taylor": {"fails": "ValueError: out of ink"},
                },
            }
        ],
    }
]


def test_quality_table_tells_spread_what_is_left_and_what_a_side_cannot():
    quality = pytest.importorskip("benchmarks.report.quality_tables")
    text = quality.quality(QUALITY)
    assert "| frivkit | **0.940 (0.900–0.980)** |" in text
    assert "| onnxsim L2 | 0.700 at 42% |" in text
    assert "| onnxsim Wanda | cannot: stays at 91% |" in text
    assert "| Torch-Pruning random | no torch network |" in text
    assert "| Torch-Pruning Taylor (needs labels and gradients) | fails |" in text
    assert "accuracy is 0.9100 (0.9000–0.9200)" in text


def test_picture_of_quality_draws_what_was_measured():
    plot = pytest.importorskip("benchmarks.report.quality_plot")
    drawn = ElementTree.fromstring(plot.picture(QUALITY))  # noqa: S314  # we have just made it
    lines = [line.find("{*}title").text for line in drawn.findall("{*}g/{*}polyline")]
    assert sorted(lines) == ["frivkit", "onnxsim L2"]
    assert {text.text for text in drawn.findall(".//{*}text")} >= {*plot.LINES, "small"}


def test_stored_times_hold_every_side_and_meet_their_budgets():
    for net in _stored("latency"):
        whole, seeds = net["whole"], len(net["whole"]["macs"])
        for budget in net["budgets"]:
            assert {"frivkit", "BALF (ours)"} <= set(budget["sides"])
            for side in budget["sides"].values():
                if "agreement" not in side:
                    assert len(side) == 1, "it says why there is nothing"
                    continue
                assert len(side["time"]) == len(side["agreement"]) == seeds
                if budget["kind"] == "macs":
                    for left, all_of_it in zip(side["macs"], whole["macs"], strict=True):
                        assert left <= budget["level"] * all_of_it


def test_stored_times_are_what_their_picture_shows():
    plot = pytest.importorskip("benchmarks.report.latency_plot")
    drawn = plot.picture(_stored("latency"))
    assert (ROOT / "docs/latency.svg").read_text() == drawn


def _times(share):
    one = {"median": share, "lower": share - 0.02, "upper": share + 0.03, "turns": 9}
    return {batch: {**one, "seconds": 0.004} for batch in ("1", "16")}


TIMED_SIDE = {"macs": [50], "agreement": [0.95], "time": [_times(0.62)]}
TIMED_SIDE |= {"cpu_seconds": [12.4], "peak_bytes": [300 << 20]}
LATENCY = [
    {
        "net": "small",
        "whole": {
            "macs": [100],
            "agreement": [1.0],
            "accuracy": [0.9],
            "time": [_times(0.99)],
            "examples": 500,
        },
        "budgets": [
            {
                "kind": "macs",
                "level": 0.5,
                "sides": {
                    "frivkit": TIMED_SIDE,
                    "Torch-Pruning magnitude": {
                        **TIMED_SIDE,
                        "agreement": [0.7],
                        "time": [_times(1.5)],
                    },
                    "onnxsim L2 + finetune": {"cannot": 0.91},
                    "BALF (ours)": {"refused": "no"},
                },
            }
        ],
    }
]


def test_table_of_times_tells_spread_what_is_slower_and_what_it_cost():
    tables_of = pytest.importorskip("benchmarks.report.latency_tables")
    text = tables_of.latency(LATENCY)
    fast = "0.62 (0.60–0.65)"
    assert f"| 50% of the MACs | frivkit | **0.9500** | 0.500 | {fast} | {fast} |" in text
    assert "| Torch-Pruning magnitude | 0.7000 | 0.500 | *1.50 (1.48–1.53)* |" in text
    assert "| onnxsim L2 + finetune | cannot: stays at 91% of the MACs |" in text
    assert "| BALF (ours) | refused |" in text
    assert "| small | 50% of the MACs | 12 | 300.0 MiB |" in text


def test_picture_of_times_draws_what_was_measured():
    plot = pytest.importorskip("benchmarks.report.latency_plot")
    drawn = ElementTree.fromstring(plot.picture(LATENCY))  # noqa: S314  # we have just made it
    lines = [line.find("{*}title").text for line in drawn.findall("{*}g/{*}polyline")]
    assert sorted(lines) == sorted(["frivkit", "Torch-Pruning magnitude"] * 2), "two batch sizes"
    assert {text.text for text in drawn.findall(".//{*}text")} >= set(plot.LINES)


def test_readme_shows_the_stored_times():
    of = pytest.importorskip("benchmarks.report.readme_table")
    made = of.readme_table(_stored("latency"))
    readme = (ROOT / "README.md").read_text()
    assert of.in_readme(readme, made) == readme


def test_readme_table_tells_agreement_time_and_the_best():
    of = pytest.importorskip("benchmarks.report.readme_table")
    (small,) = LATENCY
    made = of.readme_table([{**small, "net": "ResNet, Fashion-MNIST"}])
    row = "| ResNet; 50% of the MACs kept | **0.950 (0.62)** | – | 0.700 (1.50) | – | – | – |"
    assert row in made.splitlines()
    readme = f"a\n{of.BEGIN}\nold\n{of.END}\nb\n"
    assert of.in_readme(readme, made) == f"a\n{of.BEGIN}\n{made}\n{of.END}\nb\n"
    with pytest.raises(ValueError, match="lacks"):
        of.in_readme("a", made)


def _convolutions(rng):
    """Write a strided, padded convolution, a depthwise one and a dense layer."""
    weights = {
        "w0": rng.standard_normal((6, 3, 3, 3)),
        "b0": rng.standard_normal(6),
        "w1": rng.standard_normal((6, 1, 3, 3)),
        "w2": rng.standard_normal((4, 6 * 4 * 4)),
        "b2": rng.standard_normal(4),
    }
    nodes = [
        helper.make_node(
            "Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 0, 1, 2], strides=[2, 2], dilations=[1, 1]
        ),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], group=6, pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["c1"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], transB=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "net",
        [value("x", onnx.TensorProto.FLOAT, ["n", 3, 8, 7])],
        [value("y", onnx.TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(one.astype(np.float32), name) for name, one in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model, x):
    return ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("kind", ["weights", "activations"])
def test_factors_of_full_rank_are_the_network_itself(kind):
    low_rank = pytest.importorskip("benchmarks.competitors.low_rank")
    rng = np.random.default_rng(0)
    model, x = _convolutions(rng), rng.standard_normal((40, 3, 8, 7)).astype(np.float32)
    expected = _run(model, x)
    layers = low_rank.find_layers(model, x)
    assert [layer.node.op_type for layer in layers] == ["Conv", "Gemm"]
    moments = low_rank.output_moments(model, layers, x)
    for layer in layers:
        factors = (
            low_rank.weight_factors(layer)
            if kind == "weights"
            else low_rank.activation_factors(layer, moments[layer.node.output[0]])
        )
        low_rank.replace_layer(model, factors, len(factors.energies))
    assert len(model.graph.node) == 7
    np.testing.assert_allclose(_run(model, x), expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.0))
def test_no_ranks_of_less_cost_keep_more(seed, budget):
    low_rank = pytest.importorskip("benchmarks.competitors.low_rank")
    rng = np.random.default_rng(seed)
    node = helper.make_node("Gemm", ["x", "w"], ["y"])
    factors = [
        low_rank.weight_factors(low_rank.Layer(node, rng.standard_normal(shape), None, (1, 1), 1))
        for shape in ((6, 9), (8, 5), (4, 7))
    ]
    most = budget * sum(each.layer.macs for each in factors)
    costs, shares = [each.costs() for each in factors], [each.shares() for each in factors]
    ranks = low_rank.choose_ranks(factors, most)
    if ranks is None:
        assert sum(one[0] for one in costs) > most
        return
    chosen = [-1 if rank is None else rank - 1 for rank in ranks]
    cost = sum(one[i] for one, i in zip(costs, chosen, strict=True))
    kept = sum(one[i] for one, i in zip(shares, chosen, strict=True))
    assert cost <= most
    for others in product(*(range(len(one)) for one in costs)):
        if sum(one[i] for one, i in zip(costs, others, strict=True)) <= cost:
            assert sum(one[i] for one, i in zip(shares, others, strict=True)) <= kept + 1e-9


def test_time_shares_tell_quartiles_of_each_batch(tmp_path):
    timing = pytest.importorskip("benchmarks.measuring.time_share")
    path = tmp_path / "net.onnx"
    onnx.save(_convolutions(np.random.default_rng(0)), path)
    shares = timing.time_shares(path, path, np.zeros((16, 3, 8, 7), np.float32), seconds=0.03)
    assert list(shares) == ["1", "16"]
    for one in shares.values():
        assert 0 < one["lower"] <= one["median"] <= one["upper"]
        assert one["turns"] >= timing.SESSIONS * timing.LEAST_TURNS


def test_command_is_told_by_its_exit_code_output_and_cost():
    command = pytest.importorskip("benchmarks.measuring.command")
    script = "held = bytes(range(256)) * (60 << 12)\nprint(len(held))\nraise SystemExit(3)"
    finished = command.run_command([sys.executable, "-c", script])
    assert (finished.exit_code, finished.output.strip()) == (3, str(60 << 20))
    assert finished.peak_bytes > 60 << 20
    assert finished.cpu_seconds > 0


def test_largest_file_within_a_budget_of_time_is_found(tmp_path, monkeypatch):
    timed = pytest.importorskip("benchmarks.competitors.timed_compression")
    tried = []
    monkeypatch.setattr(
        timed, "time_shares", lambda *_, **__: {"1": {"median": 1 - tried[-1] ** 2}}
    )
    network = timed.Network("small", 0, tmp_path, None, tmp_path, tmp_path)
    vars(network)["examples"] = (np.zeros(1), np.zeros(1))
    search = timed.TimeSearch(
        lambda _, amount, __: tried.append(amount), network, tmp_path / "tried.onnx", None
    )
    amount = search.amount(0.5)
    assert 1 - amount**2 <= 0.5 < 1 - (amount - 1 / 64) ** 2
    with pytest.raises(timed.OutOfReach) as reached:
        search.amount(0.01)
    assert reached.value.least == 1 - (15 / 16) ** 2


def test_rows_are_kept_and_a_half_written_line_is_left_out(tmp_path):
    kept = pytest.importorskip("benchmarks.measuring.row_store")
    rows = tmp_path / "build" / "rows.jsonl"
    kept.RowStore(rows).add({"net": "small", "seed": 0}, {"agreement": 0.5})
    with rows.open("a") as file:
        file.write('\n[{"net": "small", "se')  # killed here
    kept.RowStore(rows).add({"net": "small", "seed": 2}, {"agreement": 0.75})
    again = kept.RowStore(rows)
    assert again.get({"seed": 0, "net": "small"}) == {"agreement": 0.5}
    assert again.get({"net": "small", "seed": 1}) is None
    assert again.get({"net": "small", "seed": 2}) == {"agreement": 0.75}


def _stored(part):
    found = json.loads(LATEST.read_text())
    if part not in found:
        pytest.skip(f"{part} has not been measured yet")
    return found[part]["found"]
