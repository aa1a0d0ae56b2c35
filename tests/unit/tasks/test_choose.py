"""Which task is chosen for the outputs of networks of many kinds, and what a user may change."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

from frivkit.errors import ModelError, UsageError
from frivkit.graph.model import Model, signature
from frivkit.graph.shapes import infer_shapes
from frivkit.runtime.labels import LabelOptions
from frivkit.tasks.choose import OutputTask, choose_tasks
from frivkit.tasks.outputs import model_outputs

ROW, PICTURE, IDS = "float[N, 6] x", "float[N, 3, 32, 32] x", "int64[N, 4] x"


def model(inputs: str, outputs: str, body: str) -> Model:
    """Return a model of a text; a weight ``w`` of any shape may be cast to what is needed."""
    text = f'<ir_version: 8, opset_import: ["": 17]> g ({inputs}) => ({outputs}) {{ {body} }}'
    network = ir.from_proto(parser.parse_model(text))
    infer_shapes(network)
    specs, batch = signature(network.graph, "net.onnx")
    return Model(network, Path("net.onnx"), "onnx", "", specs, batch)


def constant(name: str, *shape: int) -> str:
    """Return a node that gives zeros of a shape."""
    sizes = ", ".join(map(str, shape))
    return (
        f"{name}s = Constant <value_ints = [{sizes}]> ()"
        f" {name} = ConstantOfShape <value = float[1] {{0}}> ({name}s) "
    )


def dense(width: int, end: str = "") -> tuple[str, str, str]:
    """Return a network from rows of 6 to rows of a width."""
    last = f"z = MatMul (x, w) y = {end}" if end else "y = MatMul (x, w)"
    return ROW, f"float[N, {width}] y", constant("w", 6, width) + last


def convolved(channels: int, end: str = "", name: str = "y") -> tuple[str, str, str]:
    """Return a network from pictures to maps of 16 by 16."""
    conv = f"{'z' if end else name} = Conv <strides = [2, 2], kernel_shape = [2, 2]> (x, w)"
    last = f"{conv} {name} = {end}" if end else conv
    return PICTURE, f"float[N, {channels}, 16, 16] {name}", constant("w", channels, 3, 2, 2) + last


def pictures(*shape: int, name: str = "y") -> tuple[str, str, str]:
    """Return a network from pictures to an output of a shape, by a Reshape."""
    sizes = ", ".join(map(str, shape))
    size = int(np.prod(shape))
    body = (
        f"s = Constant <value_ints = [-1, {sizes}]> () f = Flatten (x) "
        + constant("w", 3072, size)
        + f"m = MatMul (f, w) {name} = Reshape (m, s)"
    )
    return PICTURE, f"float[N, {sizes}] {name}", body


LENGTH = "r = ReduceL2 <axes = [1], keepdims = 1> (z) e = Add (r, c) y = Div (z, e)"
YOLO = (
    PICTURE,
    "float[N, 9, 100] y",
    "s = Constant <value_ints = [-1, 4, 100]> () t = Constant <value_ints = [-1, 5, 100]> () "
    "f = Flatten (x) " + constant("v", 3072, 400) + constant("w", 3072, 500)
    + "b = MatMul (f, v) d = MatMul (f, w) p = Reshape (b, s) q = Reshape (d, t) "
    "r = Sigmoid (q) y = Concat <axis = 1> (p, r)",
)  # fmt: skip
KINDS = {
    "classes": (dense(5), "classify"),
    "one number": (dense(1), "classify"),
    "softmax": (dense(5, "Softmax <axis = -1> (z)"), "classify"),
    "one sigmoid": (dense(1, "Sigmoid (z)"), "classify"),
    "sigmoids": (dense(5, "Sigmoid (z)"), "multilabel"),
    "autoencoder": (dense(6, "Sigmoid (z)"), "regress"),
    "as many classes as inputs": (dense(6), "classify"),
    "divided by its norm": (
        (
            ROW,
            "float[N, 8] y",
            constant("w", 6, 8) + constant("c", 1) + f"z = MatMul (x, w) {LENGTH}",
        ),
        "embed",
    ),
    "pixels": (convolved(5), "segment"),
    "classes behind a pooling": (pictures(5, 1, 1), "classify"),
    "mask": (convolved(1, "Sigmoid (z)"), "segment"),
    "joints": (convolved(17), "heatmap"),
    "named heat maps": (convolved(5, name="heatmaps"), "heatmap"),
    "depth": (convolved(1, name="depth"), "regress"),
    "keys of earlier tokens": (pictures(4, 9, 8, name="present_key"), "regress"),
    "denoised picture": (pictures(3, 32, 32), "regress"),
    "enlarged picture": (pictures(3, 64, 64), "regress"),
    "three classes of pixels": (pictures(3, 32, 32, name="mask"), "segment"),
    "yolo joined": (YOLO, "detect"),
    "yolo on grids of 8, 16 and 32": (pictures(9, 16 + 4 + 1), "detect"),
    "yolo of three anchors": (pictures(3 * (64 + 16), 8), "detect"),
    "named yolo": (pictures(84, 99, name="output0"), "detect"),
    "places of a sequence": (pictures(7, 30), "classify"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_task_is_chosen_from_the_output(kind):
    text, expected = KINDS[kind]
    (task,) = choose_tasks(model(*text), LabelOptions())
    assert (task.name, task.reason != "") == (expected, True)


def test_texts_alone_cannot_be_compared():
    texts = model(ROW, "string[N, 6] y", "y = Cast <to = 8> (x)")
    with pytest.raises(ModelError, match=r"no output of net\.onnx is a tensor of numbers"):
        choose_tasks(texts, LabelOptions())


def test_language_model_generates():
    body = constant("w", 50, 128) + "e = Gather (w, x) " + constant("v", 128, 90)
    found = choose_tasks(
        model(IDS, "float[N, 4, 90] logits", body + "logits = MatMul (e, v)"), LabelOptions()
    )
    assert [(each.name, each.axis) for each in found] == [("generate", -1)]


def test_state_that_goes_in_and_out_is_compared_as_numbers():
    text = (
        f"{ROW}, float[N, 2, 3] s",
        "float[N, 6] y, float[N, 2, 3] t",
        "y = Relu (x) t = Tanh (s)",
    )
    found = choose_tasks(model(*text), LabelOptions())
    assert [(each.name, each.outputs) for each in found] == [
        ("classify", ("y",)),
        ("regress", ("t",)),
    ]


HEADS = (
    PICTURE,
    "float[N, 5] y, float[N, 4] box, float[N, 5] z",
    constant("w", 3072, 5) + constant("v", 3072, 4)
    + "f = Flatten (x) y = MatMul (f, w) box = MatMul (f, v) z = Sigmoid (y)",
)  # fmt: skip


def named(found: tuple[OutputTask, ...]) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.name, each.outputs) for each in found]


class TestSeveralOutputs:
    """Every output has a task; that of the requested output comes first."""

    def test_each_has_its_own(self):
        found = choose_tasks(model(*HEADS), LabelOptions())
        assert named(found) == [("classify", ("y",)), ("regress", ("box",)), ("multilabel", ("z",))]

    def test_requested_output_comes_first(self):
        found = choose_tasks(model(*HEADS), LabelOptions(), "z")
        assert [each.outputs for each in found] == [("z",), ("y",), ("box",)]

    def test_named_task_is_that_of_the_requested_output(self):
        found = choose_tasks(model(*HEADS), LabelOptions(task="embed"), "box")
        assert named(found)[0] == ("embed", ("box",))
        assert named(found)[1:] == [("embed", ("y",)), ("multilabel", ("z",))]

    def test_boxes_and_scores_are_read_together(self):
        outputs = "float[N, 20] scores, float[N, 20, 4] boxes, float[N, 20] labels, float[N, 3] y"
        body = constant("w", 6, 20) + constant("v", 6, 80) + constant("u", 6, 3)
        body += "scores = MatMul (x, w) labels = Relu (scores) b = MatMul (x, v) y = MatMul (x, u) "
        body += "s = Constant <value_ints = [-1, 20, 4]> () boxes = Reshape (b, s)"
        found = choose_tasks(model(ROW, outputs, body), LabelOptions())
        assert named(found) == [
            ("detect", ("boxes", "scores", "labels")),
            ("classify", ("y",)),
        ]

    def test_scores_of_the_same_places_lie_along_the_last_axis(self):
        outputs = "float[N, 7, 3] cls, float[N, 7, 4] reg"
        body = constant("w", 6, 21) + constant("v", 6, 28)
        body += (
            "s = Constant <value_ints = [-1, 7, 3]> () t = Constant <value_ints = [-1, 7, 4]> ()"
        )
        body += " a = MatMul (x, w) b = MatMul (x, v) cls = Reshape (a, s) reg = Reshape (b, t)"
        first, _ = choose_tasks(model(ROW, outputs, body), LabelOptions())
        assert (first.name, first.axis) == ("classify", 2)


PLACES = (
    PICTURE,
    "float[N, 9, 5] logits, float[N, 9, 4] y",
    constant("w", 3072, 45) + constant("v", 3072, 36)
    + "s = Constant <value_ints = [-1, 9, 5]> () t = Constant <value_ints = [-1, 9, 4]> () "
    "f = Flatten (x) a = MatMul (f, w) b = MatMul (f, v) "
    "logits = Reshape (a, s) y = Reshape (b, t)",
)  # fmt: skip
MASKS = (
    PICTURE,
    "float[N, 17, 21] output0, float[N, 8, 16, 16] output1",
    constant("w", 3072, 357) + constant("v", 8, 3, 2, 2)
    + "s = Constant <value_ints = [-1, 17, 21]> () f = Flatten (x) a = MatMul (f, w) "
    "output0 = Reshape (a, s) output1 = Conv <strides = [2, 2], kernel_shape = [2, 2]> (x, v)",
)  # fmt: skip
MAPS = (
    PICTURE,
    "float[N, 18, 4, 4] a, float[N, 18, 2, 2] b, float[N, 18, 1, 1] c",
    constant("w", 18, 3, 8, 8) + "a = Conv <strides = [8, 8], kernel_shape = [8, 8]> (x, w) "
    "b = AveragePool <strides = [2, 2], kernel_shape = [2, 2]> (a) c = GlobalMaxPool (b)",
)

SIDES = (
    PICTURE,
    "float[N, 144, 8, 8] a, float[N, 144, 4, 4] b",
    constant("w", 64, 3, 4, 4) + constant("v", 80, 3, 4, 4)
    + "p = Conv <strides = [4, 4], kernel_shape = [4, 4]> (x, w) "
    "q = Conv <strides = [4, 4], kernel_shape = [4, 4]> (x, v) a = Concat <axis = 1> (p, q) "
    "r = AveragePool <strides = [2, 2], kernel_shape = [2, 2]> (p) "
    "s = AveragePool <strides = [2, 2], kernel_shape = [2, 2]> (q) b = Concat <axis = 1> (r, s)",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        (SIDES, ("a", "b")),
        (PLACES, ("y", "logits")),
        (MASKS, ("output0", "output1")),
        (MAPS, ("a", "b", "c")),
    ],
)
def test_outputs_of_one_detector_are_read_together(text: tuple[str, ...], outputs: tuple[str, ...]):
    found = choose_tasks(model(*text), LabelOptions())
    assert named(found) == [("detect", outputs)]
    (task,) = choose_tasks(model(*text), LabelOptions(task="detect"))
    assert task.outputs == outputs


class TestDoubt:
    """One number or four may be classes or not: their values are asked, and it is said."""

    def chosen(self, width: int, values: object, end: str = "", **options: str) -> OutputTask:
        text = model(*dense(width, end))
        rows = np.array(values, float)
        return choose_tasks(text, LabelOptions(**options), values=lambda name: rows)[0]

    @pytest.mark.parametrize(
        ("values", "task", "guess"),
        [
            ([[1, 2, 30, 40], [0, 5, 6, 7]], "regress", True),
            ([[0.5, 0.2, 0.1, 0.2], [0.9, 0.1, 0, 0]], "classify", False),
            (np.log([[0.5, 0.2, 0.1, 0.2], [0.7, 0.1, 0.1, 0.1]]), "classify", False),
            ([[3000, -5, 2, 1], [-2, 8, 5, 1]], "regress", True),
            ([[-3, 1, 2, 0.5], [2, -1, 0.2, 1]], "classify", True),
            ([[-3, -1, -2, -5], [-2, -1, -2, -1]], "regress", True),
            ([[0, 0, 0, 0], [0, 0, 0, 0]], "classify", True),
        ],
    )
    def test_four_numbers(self, values: object, task: str, guess: bool):
        found = self.chosen(4, values)
        assert (found.name, found.guess) == (task, guess)

    @pytest.mark.parametrize(
        ("values", "task"),
        [([[0.4, 0.5, 0.3, 0.2], [0.5, 0.6, 0.3, 0.4]], "regress"),
         ([[0, 1, 0.99, 0.02], [0.01, 1, 0.03, 0.98]], "multilabel")],
    )  # fmt: skip
    def test_four_sigmoids(self, values: object, task: str):
        assert self.chosen(4, values, "Sigmoid (z)").name == task

    @pytest.mark.parametrize(
        ("values", "task"), [([[3], [8]], "regress"), ([[-3], [8]], "classify")]
    )
    def test_one_number(self, values: object, task: str):
        assert self.chosen(1, values).name == task

    def test_what_a_user_says_is_no_guess(self):
        found = self.chosen(4, [[1, 2, 30, 40], [0, 5, 6, 7]], task="classify")
        assert (found.name, found.guess) == ("classify", False)


class TestOptions:
    def test_tolerance_alone_is_the_task_of_numbers(self):
        (task,) = choose_tasks(model(*dense(5)), LabelOptions(tolerance=0.3))
        assert (task.name, task.tolerance) == ("regress", 0.3)

    def test_axis_alone_is_the_task_of_classes(self):
        (task,) = choose_tasks(model(*convolved(17)), LabelOptions(axis=2))
        assert (task.name, task.axis) == ("classify", 2)

    def test_axis_of_a_softmax_is_that_of_classes(self):
        text = (PICTURE, "float[N, 3, 32, 32] y", "y = Softmax <axis = 3> (x)")
        (task,) = choose_tasks(model(*text), LabelOptions(task="classify"))
        assert task.axis == 3

    @pytest.mark.parametrize(("opset", "axis", "expected"), [(11, 3, 3), (11, 1, 1), (13, 1, 1)])
    def test_old_softmax_over_several_axes_names_none(self, opset: int, axis: int, expected: int):
        text = (PICTURE, "float[N, 3, 32, 32] y", f"y = Softmax <axis = {axis}> (x)")
        made = model(*text)
        made.graph.opset_imports[""] = opset
        (output,) = model_outputs(made)
        assert output.softmax_axis == (None if (opset, axis) == (11, 1) else axis)
        (task,) = choose_tasks(made, LabelOptions(task="classify"))
        assert task.axis == expected

    def test_classes_along_axis_1_are_cached_as_ever(self):
        assert choose_tasks(model(*dense(5)), LabelOptions())[0].fingerprint == ""
        assert choose_tasks(model(*dense(5)), LabelOptions(-1))[0].fingerprint == "-1 None"
        assert choose_tasks(model(*dense(5)), LabelOptions(tolerance=0.1))[0].fingerprint

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (
                lambda: LabelOptions(task="classify", tolerance=0.1),
                "does not go with --task classify",
            ),
            (
                lambda: choose_tasks(model(*dense(5)), LabelOptions(task="segmnt")),
                "no task is named 'segmnt'",
            ),
            (
                lambda: choose_tasks(model(*dense(5)), LabelOptions(task="detect")),
                r"the task detect does not fit output 'y', which has shape \(\?, 5\)",
            ),
        ],
    )
    def test_what_does_not_fit_is_refused(self, make: Callable[[], object], words: str):
        with pytest.raises(UsageError, match=words):
            make()

    def test_unknown_output_is_refused(self):
        with pytest.raises(ModelError, match="no output 'nil'"):
            choose_tasks(model(*dense(5)), LabelOptions(), "nil")
