"""Batched measures equal those that frivkit takes of the exported networks, one by one."""

from functools import lru_cache

import numpy as np
import pytest

from frivkit.measure.pipeline import Request, analyze
from frivkit.runtime.execution import Execution
from frivkit_sweep_mlp.data import make_data
from frivkit_sweep_mlp.export import write_net
from frivkit_sweep_mlp.measures import measure
from frivkit_sweep_mlp.protocol import PAPER, REFERENCE
from frivkit_sweep_mlp.stack import Net, Stack
from frivkit_sweep_mlp.training import train

PROTOCOLS = {
    "paper": PAPER.changed(epochs=6),
    "reference": REFERENCE.changed(epochs=6, balance=0.4),
}
NETS = (Net(1.0, 0.01), Net(0.1, 1.0), Net(0.1, 1e2), Net(1e-4, 1e6))


@lru_cache
def trained(kind, inputs, seed):
    stack = Stack(inputs, 600, "momentum", 0.25, seed, NETS)
    data = make_data(inputs, 600, seed, PROTOCOLS[kind].balance)
    networks = train(stack, PROTOCOLS[kind], data)
    return stack, data, networks, measure(networks, stack, PROTOCOLS[kind], data)


@pytest.mark.parametrize("net", range(len(NETS)))
@pytest.mark.parametrize("inputs", [10, 700])
@pytest.mark.parametrize("kind", PROTOCOLS)
def test_measures_are_those_of_the_exported_network(kind, inputs, net, tmp_path):
    stack, data, networks, measured = trained(kind, inputs, 1)
    write_net(networks, net, data, tmp_path / "net.onnx")
    test = data.parts["test"]
    np.savez(
        tmp_path / "test.npz", x=test.inputs[:, :-1].numpy(), y=test.labels.numpy().astype(int)
    )
    request = Request(
        tmp_path / "net.onnx",
        data=f"npz:{tmp_path / 'test.npz'}",
        protocol=kind,
        execution=Execution(threads=1, seed=stack.seed),
    )
    found = {
        m.metric: m.value
        for m in analyze(request, ["prunability", "redundancy"]).measurements
        if m.scope == "network"
    }
    assert measured[net].prunability == pytest.approx(found["prunability"], abs=1e-9)
    assert measured[net].redundancy == pytest.approx(found["redundancy"], abs=1e-9)
