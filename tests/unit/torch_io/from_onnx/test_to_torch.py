"""Models as torch modules: parameters, names, refusals, and weights written back."""

import copy
import sys

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import frivkit
from frivkit.errors import FrivkitError, ModelError, UsageError
from frivkit.graph.model import Model
from frivkit.runtime.session import Device, Session
from frivkit.torch_io.from_onnx.comparison import TOLERANCE
from frivkit.torch_io.from_onnx.weights import state_keys
from tests.handmade import unfolded, written

DENSE = """g (float[N, 4] x) => (float[N, 3] y) {{
  a = {first}
  r = Relu (a)
  y = Gemm (r, wb)
}}"""


def dense(first: str = "Gemm (x, wa)", **weights: object) -> Model:
    return frivkit.load(written(DENSE.format(first=first), wa=(4, 5), wb=(5, 3), **weights))


def ran(model: Model, *inputs: torch.Tensor) -> torch.Tensor:
    """Return the first output of a model, computed by ONNX Runtime."""
    feeds = {spec.name: x.numpy() for spec, x in zip(model.inputs, inputs, strict=True)}
    return torch.from_numpy(Session(model.ir, Device()).run(feeds, [model.output()])[0])


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a.float(), b, rtol=0, atol=TOLERANCE * max(1, float(b.abs().max())))


class TestParameters:
    def test_weights_are_trained_and_statistics_are_not(self):
        module = frivkit.to_torch(unfolded())
        assert {*dict(module.named_parameters())} == {"wa", "scale", "shift", "wb", "wc"}
        assert {*dict(module.named_buffers())} == {"mean", "var"}
        assert all(weight.requires_grad for weight in module.parameters())

    def test_training_mode_changes_nothing(self):
        module, x = frivkit.to_torch(unfolded()), torch.randn(5, 3, 4, 4)
        before = copy.deepcopy(module.state_dict())
        outputs = [module.train(mode)(x) for mode in (True, False)]
        assert torch.equal(*outputs)
        assert all(torch.equal(before[key], now) for key, now in module.state_dict().items())

    def test_a_file_in_training_mode_is_read_in_inference_mode(self):
        text = """g (float[N, 3, 4] x) => (float[N, 3, 4] y{out}) {{
          y, m, v = BatchNormalization <training_mode = 1> (x, scale, shift, mean, var)
        }}"""
        weights = {"scale": (3,), "shift": (3,), "mean": (3,), "var": np.ones(3, np.float32)}
        module = frivkit.to_torch(written(text.format(out=""), **weights))
        x = 5 + torch.randn(6, 3, 4)
        assert torch.equal(module(x)[:2], module(x[:2]))
        with pytest.raises(ModelError, match=r"node y/BatchNormalization \(BatchNormalization\)"):
            frivkit.to_torch(written(text.format(out=", float[3] m"), **weights))

    def test_a_weight_that_is_read_twice_is_one_parameter(self):
        proto = written(
            """g (float[N, 4] x) => (float[N, 4] y) {
              a = MatMul (x, w)
              y = MatMul (a, w)
            }""",
            w=(4, 4),
        )
        module, x = frivkit.to_torch(proto), torch.randn(3, 4)
        (weight,) = module.parameters()
        module(x).sum().backward()
        w = weight.detach().clone().requires_grad_()
        (x @ w @ w).sum().backward()
        torch.testing.assert_close(weight.grad, w.grad)

    def test_a_tensor_that_is_scale_and_variance_gets_the_gradient_of_the_scale(self):
        proto = written(
            """g (float[N, 3, 2] x) => (float[N, 3, 2] y) {
              y = BatchNormalization (x, ones, shift, shift, ones)
            }""",
            ones=np.ones(3, np.float32), shift=np.zeros(3, np.float32),
        )  # fmt: skip
        module, x = frivkit.to_torch(proto), torch.randn(5, 3, 2)
        module(x).sum().backward()
        expected = x.sum((0, 2)) / np.sqrt(1 + 1e-5)
        torch.testing.assert_close(module.ones.grad, expected)

    def test_constants_that_are_no_weights_are_buffers(self):
        proto = written(
            """g (float[N, 4] x) => (float[N, 4] y) {
              share = Constant <value = float[1] {0.5}> ()
              w = Constant <value_floats = [1.0, 2.0, 3.0, 4.0]> ()
              a = Mul (x, share)
              b = Mul (a, w)
              c = Add (b, mask)
              d = Clip (c, low)
              y = Pow (d, two)
            }""",
            mask=np.array([0, 0, 0, -3e38], np.float32), low=np.float32(-9),
            two=np.full(1, 2, np.float32),
        )  # fmt: skip
        module = frivkit.to_torch(proto)
        assert [*dict(module.named_parameters())] == ["w"]
        assert {*dict(module.named_buffers())} == {"share", "mask", "low", "two"}

    def test_weights_in_branches_are_trained(self):
        proto = written(
            """g (float[N, 2] x) => (float[N, 2] y) {
              s = ReduceSum <keepdims = 0> (x)
              zero = Constant <value = float {0.0}> ()
              c = Greater (s, zero)
              y = If (c) <
                then_branch = t () => (float[N, 2] a) {
                  wt = Constant <value = float[2] {2.0, 3.0}> ()
                  a = Mul (x, wt)
                },
                else_branch = e () => (float[N, 2] b) { b = Mul (x, we) }
              >
            }""",
            we=(2,),
        )
        module = frivkit.to_torch(proto)
        assert {*dict(module.named_parameters())} == {"wt", "we"}
        module(torch.ones(1, 2)).sum().backward()
        assert module.wt.grad.tolist() == [1, 1]
        assert module.we.grad is None
        with torch.no_grad():
            module.wt.mul_(2)
        assert ran(frivkit.load(module), torch.ones(1, 2)).tolist() == [[4, 6]]


class TestNames:
    def test_are_those_of_the_file(self):
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
        module = frivkit.to_torch(net, torch.zeros(1, 1, 4, 4))
        assert [*module.state_dict()] == ["0.weight", "0.bias", "3.weight", "3.bias"]
        other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
        module.load_state_dict(other.state_dict())
        x = torch.randn(3, 1, 4, 4)
        close(module(x).detach(), other(x).detach())

    def test_that_differ_in_what_torch_forbids_stay_apart(self):
        """onnx2fx alone takes these for one tensor."""
        proto = written(
            """g (float[N, 4] x) => (float[N, 4] y) {
              a = Mul (x, w)
              y = Add (a, v)
            }""",
            w=(4,), v=(4,),
        )  # fmt: skip
        for tensor, name in zip(proto.graph.initializer, ("a.b", "a_b"), strict=True):
            for node in proto.graph.node:
                node.input[:] = [name if each == tensor.name else each for each in node.input]
            tensor.name = name
        module, x = frivkit.to_torch(proto), torch.randn(2, 4)
        assert {*module.state_dict()} == {"a.b", "a_b"}
        close(module(x).detach(), ran(frivkit.load(proto), x))

    @given(
        st.lists(st.text('ab./:"\\ _', max_size=6) | st.sampled_from(["class", "T"]), unique=True)
    )
    def test_become_keys_that_torch_takes_and_that_differ(self, names):
        keys = state_keys(names)
        root = nn.Module()
        for key in keys.values():
            *path, leaf = key.split(".")
            parent = root
            for part in path:
                if not hasattr(parent, part):
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.register_parameter(leaf, nn.Parameter(torch.zeros(1)))
        assert {*root.state_dict()} == {*keys.values()}
        assert len({*keys.values()}) == len(names)


class TestRefusals:
    def test_of_what_onnx2fx_does_not_know_names_the_node(self):
        proto = written(
            """g (float[N, 4] x) => (float[N, 4] y) {
              a = Relu (x)
              b = com.microsoft.BiasGelu (a, bias)
              y = Relu (b)
            }""",
            bias=(4,), domains=("com.microsoft",),
        )  # fmt: skip
        with pytest.raises(
            ModelError, match=r"node b/BiasGelu \(com.microsoft.BiasGelu\)"
        ) as caught:
            frivkit.to_torch(proto)
        assert "\n" not in str(caught.value)

    def test_of_other_numbers_names_the_first_node_that_gives_them(self, monkeypatch):
        from frivkit.torch_io.from_onnx import resize

        right = resize.neighbours
        wrong = lambda *given: tuple(part + 0.25 * (part < 1) for part in right(*given))  # noqa: E731
        monkeypatch.setattr(
            resize, "neighbours", lambda *given: (right(*given)[0], wrong(*given)[1])
        )
        proto = written(
            """g (float[N, 1, 4] x) => (float[N, 1, 16] y) {
              a = Relu (x)
              b = Resize <mode = "linear"> (a, , scales)
              c = Tanh (b)
              y = Resize <mode = "linear"> (c, , scales)
            }""",
            scales=np.array([1, 1, 2], np.float32),
        )
        with pytest.raises(ModelError, match=r"node b/Resize \(Resize\): b in torch differs from"):
            frivkit.to_torch(proto)

    def test_where_the_extra_is_missing_names_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnx2fx", None)
        with pytest.raises(FrivkitError) as caught:
            frivkit.to_torch(dense())
        assert str(caught.value).endswith("run: pip install frivkit[to-torch]")
        assert "\n" not in str(caught.value)

    def test_of_open_sizes_asks_for_them(self):
        proto = written("g (float[N, 1, H, W] x) => (float[N, 1, H, W] y) { y = Relu (x) }")
        with pytest.raises(ModelError, match="give input_shape, or data"):
            frivkit.to_torch(proto)
        module = frivkit.to_torch(proto, input_shape="1x1x4x5")
        assert module(torch.zeros(3, 1, 7, 7)).shape == (3, 1, 7, 7)
        assert frivkit.to_torch(proto, data=np.zeros((4, 1, 2, 2), np.float32)) is not None

    def test_of_huge_inputs_asks_for_data(self):
        proto = written(f"g (float[N, {2**40}] x) => (float[N, {2**40}] y) {{ y = Relu (x) }}")
        with pytest.raises(ModelError, match="too many to try it on noise: give data"):
            frivkit.to_torch(proto)

    def test_of_a_tensor_that_is_not_computed_names_those_that_are(self):
        with pytest.raises(UsageError, match=r"no tensor is named 'b'.* known: a, r, y"):
            frivkit.to_torch(dense(), tensors="b")


def test_a_plan_has_no_module():
    with pytest.raises(UsageError, match="give compress the name of an output file"):
        _ = frivkit.CompressionResult({}, None).module


class TestModules:
    def test_return_any_tensors_and_leave_the_rest_out(self):
        model, x = dense(), torch.randn(6, 4)
        module = frivkit.to_torch(model, tensors=["r", "a"])
        r, a = module(x)
        assert {*module.state_dict()} == {"wa"}
        assert torch.equal(r, a.relu())
        close(a.detach(), x @ module.wa.detach())

    def test_take_several_inputs_in_order_and_return_several_outputs(self):
        proto = written(
            """g (float[N, 2] u, int64[N, 2] v) => (float[N, 2] y, float[N, 2] z) {
              e = Gather (table, v)
              s = ReduceSum <keepdims = 0> (e, axes)
              y = Add (u, s)
              z = Relu (u)
            }""",
            table=(7, 3), axes=np.array([2]),
        )  # fmt: skip
        module = frivkit.to_torch(proto)
        u, v = torch.randn(4, 2), torch.randint(-7, 7, (4, 2))
        y, z = module(u, v)
        close(y.detach(), ran(frivkit.load(proto), u, v))
        assert torch.equal(z, u.relu())
        assert module.state_dict().keys() >= {"table"}

    def test_may_begin_with_an_identity(self):
        proto = written("g (float[N, 2] x) => (float[N, 2] y) { a = Identity (x)\n y = Relu (a) }")
        assert frivkit.to_torch(proto)(torch.tensor([[-1.0, 2.0]])).tolist() == [[0, 2]]

    def test_are_copied_with_their_origin(self):
        module = frivkit.to_torch(dense())
        twin = copy.deepcopy(module)
        with torch.no_grad():
            twin.wa.zero_()
        assert frivkit.load(module).sha256 != frivkit.load(twin).sha256
        assert module.wa.abs().max() > 0

    def test_compute_in_float64(self):
        proto = written(
            """g (float[N, 4] x) => (float[N, 2] y) {
              c = Cast <to = 7> (x)
              d = Cast <to = 1> (c)
              f = ConstantOfShape <value = float[1] {1.5}> (shape)
              a = Mul (d, f)
              y = MatMul (a, w)
            }""",
            shape=np.array([1, 4]), w=(4, 2),
        )  # fmt: skip
        module = frivkit.to_torch(proto).double()
        assert module(torch.ones(3, 4).double()).dtype is torch.float64

    def test_of_half_precision_are_compared_as_half_precision(self):
        proto = written(
            """g (float[N, 64] x) => (float[N, 8] y) {
              a = Cast <to = 10> (x)
              b = MatMul (a, w)
              y = Cast <to = 1> (b)
            }""",
            w=np.random.default_rng(0).standard_normal((64, 8)).astype(np.float16),
        )
        module = frivkit.to_torch(proto)
        assert module.w.dtype is torch.float16

    @pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
    def test_of_torch_networks_are_those_networks(self):
        net = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).eval()
        x = torch.randn(5, 4)
        for each in (net, torch.jit.trace(net, x)):
            close(frivkit.to_torch(each, x)(x).detach(), net(x).detach())


class TestWrittenBack:
    def test_weights_and_names_are_those_of_module_and_file(self):
        model = frivkit.load(unfolded())
        module = frivkit.to_torch(model)
        with torch.no_grad():
            for tensor in module.state_dict().values():
                tensor.add_(0.1)
        x = torch.randn(4, 3, 4, 4)
        back = frivkit.load(module.double())
        close(module(x.double()).detach(), ran(back, x))
        assert [node.name for node in back.graph] == [node.name for node in model.graph]
        assert [*back.graph.initializers] == [*model.graph.initializers]
        assert back.ir.opset_imports == model.ir.opset_imports
        assert str(back.path) == "<ModelProto>"

    def test_an_untouched_module_gives_the_file_again(self):
        model = dense()
        first, again = frivkit.load(frivkit.to_torch(model)), frivkit.to_torch(model)
        assert first.sha256 == frivkit.load(again).sha256
        for name, value in model.graph.initializers.items():
            kept = first.graph.initializers[name].const_value.numpy()
            np.testing.assert_array_equal(kept, value.const_value.numpy())

    def test_save_writes_a_file_that_can_be_read(self, tmp_path):
        module = frivkit.to_torch(dense())
        with torch.no_grad():
            module.wb.neg_()
        path = frivkit.save(module, tmp_path / "new.onnx")
        x = torch.randn(3, 4)
        close(module(x).detach(), ran(frivkit.load(path), x))
        with pytest.raises(UsageError, match=r"name it new\.onnx"):
            frivkit.save(module, tmp_path / "new.pt")

    def test_a_module_with_other_code_is_traced(self):
        module, x = frivkit.to_torch(dense()), torch.randn(3, 4)
        nodes = module.graph.nodes
        (relu,) = [node for node in nodes if node.meta.get("onnx_op_type") == "Relu"]
        relu.target = torch.tanh
        module.recompile()
        with pytest.raises(ModelError, match="give an example"):
            frivkit.load(module)
        close(module(x).detach(), ran(frivkit.load(module, x), x))

    def test_a_tensor_of_another_shape_is_refused(self):
        module = frivkit.to_torch(dense())
        module.wb = nn.Parameter(torch.zeros(5, 2))
        with pytest.raises(ModelError, match=r"its tensor wb has the shape \(5, 2\)"):
            frivkit.load(module)

    def test_a_larger_network_around_it_is_traced(self):
        around = nn.Sequential(frivkit.to_torch(dense()), nn.Linear(3, 2))
        x = torch.randn(3, 4)
        close(around(x).detach(), ran(frivkit.load(around, x), x))

    def test_a_graph_that_is_not_its_files_is_not_written(self, tmp_path):
        model = dense()
        changed = Model(
            ir.Model(model.graph.clone(), ir_version=8), model.path, "onnx", "", model.inputs, None,
            changes=("it computes otherwise",),
        )  # fmt: skip
        with pytest.raises(ModelError, match="it computes otherwise"):
            frivkit.save(changed, tmp_path / "m.onnx")
