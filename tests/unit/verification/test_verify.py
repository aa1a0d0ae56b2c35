"""The proof against onnx's own interpreter, numpy, and tails of the binomial distribution."""

from collections.abc import Callable
from math import comb
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from frivkit.data import open_data
from frivkit.errors import DataError, ModelError
from frivkit.latency.timing import Latency, interleaved
from frivkit.measure.pipeline import Request, load_model
from frivkit.progress import Silent
from frivkit.runtime.execution import Execution
from frivkit.runtime.perturbed_model import BaselineModel
from frivkit.runtime.session import Session
from frivkit.verification import Verification, verify
from frivkit.verification.agreement import Agreement, lower_end
from frivkit.verification.difference import PIECE, Difference
from tests import handmade, nets
from tests.handmade import written

LOOKUP = "g (float[{n}, 1] x) => (float[{n}, 3] y) {{ i = Cast <to = 7> (x) s = Squeeze (i, one) "
LOOKUP += "y = Gather <axis = 0> (w, s) }}"


def table(rows: np.ndarray, batch: object = "N") -> onnx.ModelProto:
    """Return a network whose output for the input i is row i."""
    one = np.array([1], np.int64)
    return written(LOOKUP.format(n=batch), w=rows.astype(np.float32), one=one)


def perturbed(proto: onnx.ModelProto, amount: float = 0.3) -> onnx.ModelProto:
    """Return a copy with noise on every weight of a float type."""
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    generator = np.random.default_rng(5)
    for tensor in copy.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f" and array.ndim:
            noise = amount * generator.standard_normal(array.shape)
            changed = (array * (1 + noise)).astype(array.dtype)
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    return copy


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Verification]:
    """Return a function that writes two networks and compares them."""

    def run(a: onnx.ModelProto, b: onnx.ModelProto, data: str | None, **more: object):
        for name, proto in (("a.onnx", a), ("b.onnx", b)):
            onnx.save(proto, tmp_path / name)
        request = Request(tmp_path / "a.onnx", data=data, **more)
        return verify(request, tmp_path / "b.onnx")

    return run


def stored(tmp_path: Path, **arrays: np.ndarray) -> str:
    np.savez(tmp_path / "data.npz", **arrays)
    return f"npz:{tmp_path / 'data.npz'}"


def numbered(tmp_path: Path, n: int, **more: np.ndarray) -> str:
    return stored(tmp_path, x=np.arange(n, dtype=np.float32)[:, None], **more)


class TestAgreement:
    @pytest.mark.parametrize("same", [0, 1, 7, 39, 40])
    def test_interval_is_where_the_binomial_tails_are_two_and_a_half_per_cent(self, same):
        def tail(p: float, counts: range) -> float:
            return sum(comb(40, k) * p**k * (1 - p) ** (40 - k) for k in counts)

        low, high = Agreement(same, 40).interval
        if same > 0:
            assert tail(low, range(same, 41)) == pytest.approx(0.025)
        else:
            assert low == 0
        if same < 40:
            assert tail(high, range(same + 1)) == pytest.approx(0.025)
        else:
            assert high == 1
        assert low <= same / 40 <= high

    def test_interval_of_several_positions_holds_when_they_all_agree_or_none_does(self):
        """The worst case: what one position says all of its example say."""
        generator = np.random.default_rng(0)
        missed = 0
        for _ in range(1000):
            examples = generator.random(60) < 0.9
            low, high = Agreement(int(examples.sum()) * 50, 60, positions=50).interval
            missed += not low <= 0.9 <= high
        assert missed <= 50

    def test_interval_of_several_positions_is_that_of_examples_with_less_error(self):
        found = Agreement(57 * 4 + 2, 60, positions=4)
        low, high = found.interval
        assert low == lower_end(57, 60, 0.025 / np.e)
        assert high == 1 - lower_end(2, 60, 0.025 / np.e)
        assert found.share == 230 / 240
        one = Agreement(230, 240).interval
        assert low < one[0]
        assert one[1] < high

    def test_all_of_many_agreeing_is_no_certainty(self):
        for positions in (1, 9):
            low, high = Agreement(1000 * positions, 1000, positions).interval
            assert 0.99 < low < 1 == high

    @pytest.mark.parametrize("positions", [1, 6])
    @pytest.mark.parametrize("required", [0.5, 0.9, 0.99])
    def test_number_of_examples_that_is_asked_for_is_enough_and_no_more(self, required, positions):
        message = Agreement(positions, 1, positions).shortfall(required)
        needed = int(message.split("give ")[1].split()[0])
        all_of = [Agreement(n * positions, n, positions) for n in (needed - 1, needed)]
        assert all_of[0].shortfall(required) is not None
        assert all_of[1].shortfall(required) is None

    def test_shortfall_that_examples_cannot_mend_says_so(self):
        found = Agreement(900, 1000)
        assert "compress less" in found.shortfall(0.95)
        assert found.shortfall(0.85) is None


class TestDifference:
    def test_pieces_add_up_to_what_numpy_says(self):
        generator = np.random.default_rng(1)
        a, b = generator.standard_normal((2, 3, PIECE)).astype(np.float32)
        found = Difference()
        for i in range(3):
            found.add(a[i], b[i])
        gap = a.astype(np.float64) - b.astype(np.float64)
        assert found.max_abs == np.abs(gap).max()
        expected = np.linalg.norm(gap) / np.linalg.norm(a.astype(np.float64))
        assert found.relative_l2 == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize(
        ("a", "b", "largest", "relative"),
        [
            ([0.0, 0.0], [0.0, 0.0], 0.0, 0.0),
            ([0.0], [1.0], 1.0, np.nan),
            ([1.0, -np.inf], [1.0, -np.inf], 0.0, np.nan),
            ([1.0], [np.inf], np.inf, np.nan),
            ([1.0, 2.0], [np.nan, 2.0], np.nan, np.nan),
        ],
    )
    def test_what_is_undefined_is_not_a_number(self, a, b, largest, relative):
        found = Difference()
        found.add(np.array(a), np.array(b))
        found.add(np.zeros(1), np.zeros(1))
        np.testing.assert_equal([found.max_abs, found.relative_l2], [largest, relative])

    def test_numbers_too_large_for_their_own_type_when_squared(self):
        found = Difference()
        found.add(np.full(9, 6e4, np.float16), np.full(9, -6e4, np.float16))
        assert found.relative_l2 == 2.0
        assert found.max_abs == 2 * float(np.float16(6e4))


class TestLatency:
    def test_runs_take_turns(self):
        told: list[str] = []
        runs = [lambda: told.append("a"), lambda: told.append("b")]
        one, other = interleaved(runs, Silent(), "x")
        assert len(one.turns) == len(other.turns) == 5
        assert told == ["a"] * 2 + ["b"] * 2 + ["a", "b"] * 5

    def test_short_runs_are_repeated_and_the_first_of_a_turn_does_not_count(self, monkeypatch):
        clock = [0.0]

        def run() -> None:
            clock[0] += 5.0 if late.pop() else 0.004

        late = [False] * 100
        monkeypatch.setattr("frivkit.latency.timing.perf_counter", lambda: clock[0])
        monkeypatch.setattr("frivkit.latency.timing.TURN", 0.02)
        late[-3] = True  # after the warm-up
        (found,) = interleaved([run], Silent(), "x")
        assert found.turns == pytest.approx([4.0] * 5)
        assert len(late) == 100 - 2 - 5 * 6

    def test_run_that_something_else_held_up_does_not_count(self, monkeypatch):
        clock = [0.0]
        held = iter([False] * 2 + [False, True, False, False, False, True] * 5)

        def run() -> None:
            clock[0] += 0.9 if next(held) else 0.004

        monkeypatch.setattr("frivkit.latency.timing.perf_counter", lambda: clock[0])
        monkeypatch.setattr("frivkit.latency.timing.TURN", 0.02)
        (found,) = interleaved([run], Silent(), "x")
        assert found.turns == pytest.approx([4.0] * 5)

    def test_long_runs_have_few_turns(self, monkeypatch):
        monkeypatch.setattr("frivkit.latency.timing.MOST", 25)
        clock = [0.0]

        def run() -> None:
            clock[0] += 3.0

        monkeypatch.setattr("frivkit.latency.timing.perf_counter", lambda: clock[0])
        one, other = interleaved([run, run], Silent(), "x")
        assert one.turns == pytest.approx([3000.0] * 5)
        assert other.against(one) == pytest.approx((1, 1, 1))

    def test_ratio_does_not_see_what_slows_both(self):
        calm = np.array([1.0, 1.1, 1.0, 1.2, 1.0])
        slow = calm * [1, 1, 7, 7, 1]
        one, other = Latency(tuple(slow)), Latency(tuple(0.5 * slow))
        assert other.against(one) == pytest.approx((0.5, 0.5, 0.5))


class TestVerify:
    @pytest.mark.parametrize("name", ["mlp", "cnn", "residual", "two inputs", "halves", "doubles"])
    def test_numbers_are_those_of_the_interpreter(self, name, compared, tmp_path):
        a, b = nets.network(name), perturbed(nets.network(name))
        found = compared(a, b, "gaussian?n=70&seed=2").comparison
        inputs = open_data("gaussian?n=70&seed=2", load_model(Request(tmp_path / "a.onnx")).inputs)
        inputs = dict(inputs.read(0, 70).inputs)
        one, other = (
            ReferenceEvaluator(proto).run([a.graph.output[0].name], inputs)[0].astype(np.float64)
            for proto in (a, b)
        )
        rough = 3e-3 if name == "halves" else 1e-5
        gap = np.abs(one - other)
        assert found.main.max_abs == pytest.approx(gap.max(), rel=rough, abs=rough)
        relative = np.linalg.norm(gap) / np.linalg.norm(one)
        assert found.main.relative_l2 == pytest.approx(relative, rel=rough, abs=rough)
        same = one.argmax(1) == other.argmax(1)
        close = 2 if name == "halves" else 0  # interpreters round halves each in their own way
        assert abs(found.agreement.same - same.sum()) <= close
        assert gap.max() > 0.01

    @pytest.mark.parametrize("flipped", [0, 1, 5, 300])
    def test_flipped_labels_are_counted_exactly(self, flipped, compared, tmp_path):
        rows = np.eye(3)[np.arange(300) % 3]
        other = rows.copy()
        other[:flipped] = np.roll(other[:flipped], 1, axis=1)
        data = numbered(tmp_path, 300, y=np.arange(300) % 3)
        found = compared(table(rows), table(other), data)
        assert found.comparison.agreement == Agreement(300 - flipped, 300)
        assert found.comparison.accuracy == (1.0, 1 - flipped / 300)
        assert found.comparison.main.max_abs == (1.0 if flipped else 0.0)
        assert found.comparison.main.relative_l2 == pytest.approx(np.sqrt(2 * flipped / 300))

    def test_file_agrees_with_itself(self, tmp_path):
        onnx.save(nets.network("residual"), tmp_path / "a.onnx")
        found = verify(Request(tmp_path / "a.onnx", data="gaussian?n=99"), tmp_path / "a.onnx")
        assert found.comparison.agreement == Agreement(99, 99)
        assert (found.comparison.main.max_abs, found.comparison.main.relative_l2) == (0.0, 0.0)

    def test_nan_of_the_thin_model_agrees_with_nothing(self, compared, tmp_path):
        rows = np.eye(3)[np.arange(90) % 3]
        other = rows.copy()
        other[7, 2] = other[80, 0] = np.nan
        found = compared(table(rows), table(other), numbered(tmp_path, 90))
        assert found.comparison.agreement == Agreement(88, 90)
        assert found.comparison.main.undefined == 2
        assert np.isnan(found.comparison.main.max_abs)
        assert any("NaN for 2 labels" in warning for warning in found.warnings)

    def test_nan_of_the_original_is_an_error(self, compared, tmp_path):
        rows = np.eye(3)[np.arange(90) % 3]
        rows[61, 1] = np.nan
        compressed, data = table(np.eye(3)[np.zeros(90, int)]), numbered(tmp_path, 90)
        for memory in (1, 2 << 30):
            with pytest.raises(ModelError, match=r"a\.onnx gives NaN for example 61 of npz:"):
                compared(table(rows), compressed, data, execution=Execution(memory=memory))

    def test_threshold_is_that_of_each_model(self, compared):
        """A thin model may leave the sigmoid out: its logit says the same."""
        text = "g (float[N, 3] x) => (float[N, 1] y) { z = MatMul (x, w) y = %s (z) }"
        a, b = (written(text % op, w=(3, 1)) for op in ("Sigmoid", "Identity"))
        found = compared(a, b, "gaussian?n=80").comparison
        assert found.agreement == Agreement(80, 80)
        assert found.main.max_abs > 0.1

    def test_models_of_any_batch_get_equal_batches(self, compared, monkeypatch):
        sizes: dict[str, list[int]] = {}
        run = BaselineModel.run_all

        def spy(self, inputs):
            sizes.setdefault(self._model.path.name, []).append(len(inputs["x"]))
            return run(self, inputs)

        monkeypatch.setattr(BaselineModel, "run_all", spy)
        wide, narrow = (
            written(
                "g (float[N, 6] x) => (float[N, 3] y) { h = Gemm (x, v) y = Gemm (h, w) }",
                v=(6, width),
                w=(width, 3),
            )
            for width in (900, 50)
        )
        compared(wide, narrow, "gaussian?n=40", execution=Execution(memory=1 << 16))
        assert sizes["a.onnx"] == sizes["b.onnx"]
        assert 1 < sizes["a.onnx"][0] < 40

    def test_files_are_timed_as_they_are(self, compared, tmp_path, monkeypatch):
        opened = []

        class Spy(Session):
            def __init__(self, model, device):
                opened.append(model)
                super().__init__(model, device)

        monkeypatch.setattr("frivkit.verification.verification.Session", Spy)
        compared(nets.network("mlp"), nets.network("mlp"), "gaussian?n=20")
        assert opened == [tmp_path / "a.onnx", tmp_path / "b.onnx"]

    @pytest.mark.parametrize(
        ("first", "second", "measured"),
        [(1, "N", {1}), ("N", 64, {64}), (1, 1, {1}), (1, 64, set()), (4, 7, set())],
    )
    def test_batches_that_files_insist_on(self, first, second, measured, compared, tmp_path):
        rows = np.random.default_rng(0).standard_normal((70, 3))
        other = np.roll(rows, 1, axis=0)
        found = compared(table(rows, first), table(other, second), numbered(tmp_path, 70))
        same = (rows.argmax(1) == other.argmax(1)).sum()
        assert found.comparison.agreement == Agreement(same, 70)
        for side in (found.original, found.compressed):
            assert {size for size, latency in side.latency.items() if latency} == measured
        assert set(found.unmeasured) == {1, 64} - measured
        for size in found.unmeasured:
            assert "takes batches of" in found.unmeasured[size]

    def test_several_positions_are_counted_one_by_one(self, compared, tmp_path):
        text = "g (float[N, 2, 3] x) => (float[N, 2, 3] y) { y = Mul (x, w) }"
        x = np.random.default_rng(0).standard_normal((40, 2, 3)).astype(np.float32)
        flip = np.array([[[1, 1, -1]]] * 1, np.float32)
        data = stored(tmp_path, x=x, y=np.zeros(40, int))
        found = compared(
            written(text, w=np.ones((1, 1, 3), np.float32)), written(text, w=flip), data
        )
        assert found.comparison.agreement == Agreement(80, 40, positions=3)
        assert found.comparison.accuracy is None

    def test_outputs_that_are_labels_have_no_distance(self, compared):
        text = "g (float[N, 6] x) => (int64[N] y) {{ y = ArgMax <axis = 1, keepdims = 0> ({}) }}"
        found = compared(
            written(text.format("x")), written(text.format("x")), "gaussian?n=50"
        ).comparison
        assert (found.main.max_abs, found.main.relative_l2) == (None, None)
        assert found.agreement == Agreement(50, 50)

    def test_inputs_in_another_order_are_matched_by_name(self, compared, tmp_path):
        text = "g ({}) => (float[N, 3] y) {{ y = Sub (p, q) }}"
        p, q = "float[N, 3] p", "float[N, 3] q"
        generator = np.random.default_rng(0)
        arrays = {name: generator.standard_normal((30, 3)).astype(np.float32) for name in "pq"}
        models = [written(text.format(order)) for order in (f"{p}, {q}", f"{q}, {p}")]
        found = compared(*models, stored(tmp_path, **arrays))
        assert found.comparison.agreement == Agreement(30, 30)
        assert found.comparison.main.max_abs == 0

    def test_sizes_that_one_file_leaves_open_are_taken_from_the_other(self, compared):
        text = "g (float[N, {}] x) => (float[N, 4] y) {{ y = Mul (x, w) }}"
        w = np.ones(4, np.float32)
        found = compared(
            written(text.format("D"), w=w), written(text.format(4), w=w), "gaussian?n=20"
        )
        assert found.comparison.agreement == Agreement(20, 20)

    def test_output_is_matched_by_name_before_place(self, compared):
        text = "g (float[N, 3] x) => ({}) {{ logits = Identity (x) other = Neg (x) }}"
        logits, other = "float[N, 3] logits", "float[N, 3] other"
        a, b = (written(text.format(o)) for o in (f"{logits}, {other}", f"{other}, {logits}"))
        assert compared(a, b, "gaussian?n=20").comparison.agreement.share == 1
        found = compared(a, b, "gaussian?n=20", output="other")
        assert found.original.output == found.compressed.output == "other"
        assert found.comparison.main.max_abs == 0
        renamed = "g (float[N, 3] x) => (float[N, 3] y) { y = Identity (x) }"
        assert compared(a, written(renamed), "gaussian?n=20").compressed.output == "y"
        with pytest.raises(ModelError, match="has no output 'other' nor one in place 2"):
            compared(a, written(renamed), "gaussian?n=20", output="other")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("g (float[N, 6] z) => (float[N, 3] y) { y = Gemm (z, w) }", "takes x and .* takes z"),
            ("g (double[N, 6] x) => (double[N, 6] y) { y = Relu (x) }", "float32 .* float64"),
            ("g (float[N, 7] x) => (float[N, 7] y) { y = Relu (x) }", r"\(6,\) .* \(7,\)"),
            ("g (float[N, 6, 1] x) => (float[N, 6, 1] y) { y = Relu (x) }", r"\(6, 1\)"),
            ("g (float[N, 6] x) => (float[N, 6] y) { y = Relu (x) }", r"\(3,\) .* \(6,\)"),
            (
                "g (float[N, 6] x) => (int64[N] y) { y = ArgMax <axis = 1, keepdims = 0> (x) }",
                "float32 .* int64",
            ),
        ],
    )
    def test_models_that_cannot_be_compared_are_refused_in_one_line(self, text, words, compared):
        a = written("g (float[N, 6] x) => (float[N, 3] y) { y = Gemm (x, w) }", w=(6, 3))
        weights = {"w": (6, 3)} if "w)" in text else {}
        with pytest.raises(ModelError, match=words) as error:
            compared(a, written(text, **weights), "gaussian?n=20")
        assert "\n" not in str(error.value)
        assert all(name in str(error.value) for name in ("a.onnx", "b.onnx"))

    def test_error_says_which_of_the_models_it_was(self, compared):
        good = "g (float[N, 6] x) => (float[N, 6] y) { y = Relu (x) }"
        bad = "g (float[N, 6] x) => (float[N, 6] y) { y = Reshape (x, s) }"
        with pytest.raises(ModelError, match=r"b\.onnx: "):
            compared(written(good), written(bad, s=np.array([5, 6])), "gaussian?n=20")

    def test_bytes_are_of_the_file_and_of_its_external_data(self, tmp_path):
        proto = nets.network("cnn")
        onnx.save(proto, tmp_path / "a.onnx")
        (tmp_path / "b").mkdir()
        onnx.save(
            onnx.ModelProto.FromString(proto.SerializeToString()),
            tmp_path / "b/b.onnx",
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=0,
        )
        found = verify(Request(tmp_path / "a.onnx", data="gaussian?n=20"), tmp_path / "b/b.onnx")
        assert found.original.bytes == (tmp_path / "a.onnx").stat().st_size
        sizes = [path.stat().st_size for path in (tmp_path / "b").iterdir()]
        assert len(sizes) == 2
        assert found.compressed.bytes == sum(sizes)
        assert found.comparison.main.max_abs == 0
        assert all(latency.median > 0 for latency in found.compressed.latency.values())

    def test_memory_bound_changes_no_result(self, compared):
        a, b = nets.network("cnn"), perturbed(nets.network("cnn"))
        large = compared(a, b, "gaussian?n=50").comparison
        small = compared(a, b, "gaussian?n=50", execution=Execution(memory=1)).comparison
        assert small.agreement == large.agreement
        assert small.main.max_abs == pytest.approx(large.main.max_abs, rel=1e-4)


class TestWarnings:
    def test_noise_is_warned_about_whether_named_or_not(self, compared):
        net = nets.network("mlp")
        for data in (None, "gaussian?n=300", "frivkit_datasets:gaussian?n=300"):
            said = [w for w in compared(net, net, data, examples=300).warnings if "noise" in w]
            assert len(said) == 1
            assert "--data" in said[0]

    def test_noise_that_the_original_names_is_warned_about(self, compared):
        net = onnx.ModelProto.FromString(nets.network("mlp").SerializeToString())
        net.metadata_props.add(key="frivkit.data", value="gaussian?n=300")
        said = [warning for warning in compared(net, net, None).warnings if "noise" in warning]
        assert len(said) == 1

    def test_data_of_the_originals_metadata_are_taken(self, compared, tmp_path):
        rows = np.eye(3)[np.arange(90) % 3]
        a = table(rows)
        a.metadata_props.add(key="frivkit.data", value=numbered(tmp_path, 90))
        found = compared(a, table(rows), None)
        assert found.data.spec.startswith("npz:")
        assert not any("noise" in warning for warning in found.warnings)
        (tmp_path / "data.npz").unlink()
        with pytest.raises(DataError, match=r"a\.onnx names this data; give --data"):
            compared(a, table(rows), None)

    def test_one_class_and_few_examples(self, compared, tmp_path):
        rows = np.eye(3)[np.where(np.arange(40) < 2, 1, 0)]
        said = " ".join(compared(table(rows), table(rows), numbered(tmp_path, 40)).warnings)
        assert "95.0% of the original's labels fall in one class" in said
        assert "40 examples leave the agreement uncertain by 9 percentage points" in said

    def test_nothing_is_said_where_nothing_is_wrong(self, compared, tmp_path):
        rows = np.eye(3)[np.arange(300) % 3]
        assert compared(table(rows), table(rows), numbered(tmp_path, 300)).warnings == ()


def test_layers_are_those_of_either_survey(compared):
    found = compared(handmade.unfolded(), handmade.unfolded(), "gaussian?n=20")
    assert [s.layer for s in found.original.site_map.sites] == ["a", "b"]
    assert found.compressed.site_map.sites == found.original.site_map.sites
