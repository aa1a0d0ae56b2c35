"""Runs in several threads: results in order, errors in their places, and Ctrl-C."""

import os
import signal
import threading
from dataclasses import replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from frivkit.data import Dataset, DataSpec, TensorSpec, open_data
from frivkit.errors import ModelError
from frivkit.graph.sites.site_map import find_sites
from frivkit.progress import Silent
from frivkit.runtime.batch_loops import run_perturbed
from frivkit.runtime.memory import batch_size, live_bytes, runs_at_once, tensor_bytes
from frivkit.runtime.perturbed_model import PerturbedModel
from frivkit.runtime.runner import LocalEngine, Runner
from frivkit.runtime.session import Device, Session
from frivkit.runtime.side_by_side import OneAhead, side_by_side
from frivkit.units.masks import Mask
from frivkit.units.perturbations import Noise
from frivkit_unit_selectors.selectors import LOCATION
from tests.nets import network, opened
from tests.unit.test_interrupts import endless, interrupt_soon

MEMORY = 1 << 28


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_and_items_are_taken_as_they_go(threads):
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    results = side_by_side(lambda number: -number, items(), threads)
    assert next(results) == 0
    assert len(taken) <= threads + 1
    assert list(results) == [-number for number in range(1, 20)]


def test_tasks_run_at_once():
    meeting = threading.Barrier(3, timeout=20)
    assert list(side_by_side(lambda _: meeting.wait() >= 0, range(3), 3)) == [True] * 3


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_comes_where_its_result_would(threads):
    def task(number: int) -> int:
        if number == 2:
            raise ValueError("the third")
        return number

    results = side_by_side(task, range(9), threads)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)


def test_ctrl_c_and_a_caller_that_leaves_end_runs_inside_the_runtime():
    session = Session(ir.from_proto(endless()), Device(threads=1))
    others = set(threading.enumerate())  # of maps in other tests that nobody has let go of yet
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(number: int) -> object:
        return number if number == 0 else session.run({"x": np.zeros((1, 4), np.float32)}, ["y"])

    try:
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            list(side_by_side(run, range(5), 2))
    finally:
        signal.signal(signal.SIGINT, before)
    results = side_by_side(run, range(5), 2)
    next(results)
    results.close()
    ahead = OneAhead(lambda first, last: run(first), 2, 1)
    ahead(0, 1)
    ahead.close()
    for thread in set(threading.enumerate()) - others:
        if thread.name.startswith(("frivkit run", "frivkit reading")):
            thread.join(20)
            assert not thread.is_alive()


def test_a_range_is_read_while_the_one_before_is_in_use_and_errors_wait_for_their_turn():
    begun, read_by = [threading.Event() for _ in range(3)], []

    def source(first: int, last: int) -> tuple[int, int]:
        read_by.append(threading.current_thread())
        begun[first // 2].set()
        if first == 4:
            raise OSError("the third range")
        return first, last

    ahead = OneAhead(source, 5, 2)
    assert ahead(0, 2) == (0, 2)
    assert begun[1].wait(20)
    assert ahead(2, 4) == (2, 4)
    assert begun[2].wait(20)
    assert ahead(0, 2) == (0, 2)  # not the next one: read when it is asked for
    with pytest.raises(OSError, match="the third range"):
        ahead(4, 5)
    assert threading.main_thread() in read_by
    assert len(set(read_by)) > 1


def test_threads_that_read_take_turns():
    class Source:
        """Counts the threads that are inside it."""

        columns: ClassVar = {"x": TensorSpec("x", np.dtype(np.float32), (3,))}
        examples, digest, inside, most = 12, "", 0, 0

        def read(self, start: int, stop: int):
            self.inside += 1
            self.most = max(self.most, self.inside)
            threading.Event().wait(0.005)
            self.inside -= 1
            return {"x": np.zeros((stop - start, 3), np.float32)}

    source = Source()
    data = Dataset(DataSpec.parse("digits"), source)
    list(side_by_side(lambda first: data.read(first, first + 1), range(12), 4))
    assert source.most == 1


@pytest.mark.parametrize("kind", [Mask, Noise])
def test_threads_change_no_bit(tmp_path, kind):
    model = opened(network("residual"), tmp_path / "m.onnx")
    rows = np.random.default_rng(0).normal(size=(20, *model.inputs[0].shape)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=rows)
    data = open_data(f"npz:{tmp_path / 'x.npz'}", model.inputs)
    sites = find_sites(model).sites
    rng = np.random.default_rng(1)
    for some in (sites[:1], sites):
        if kind is Mask:
            changes = [
                Mask({s.name: rng.random(LOCATION.count(s)) < 0.5 for s in some}) for _ in range(7)
            ]
        else:
            layers = {s.name: s.layer for s in some}
            changes = [Noise(layers, level, 0, r) for r in (0, 1) for level in (0.1, 0.5, 1.0)]
        found = []
        for threads in (1, 3):
            way = PerturbedModel(
                model, some, model.output(), Device(threads=threads), MEMORY, kind=kind
            )
            assert way.at_once == threads
            way.batch = 8
            runner = Runner(LocalEngine(), Silent())
            kept = run_perturbed(
                way,
                data,
                changes,
                LOCATION if kind is Mask else None,
                read=lambda outputs, first, last: outputs[0],
                what="runs",
                runner=runner,
            )
            found.append(kept)
        assert np.array_equal(*found)
        assert len({each.tobytes() for each in found[0]}) > 1


def test_threads_have_the_error_state_of_the_caller():
    """What numpy is told to let pass in the caller passes in the threads, too."""
    large = np.full(2, 1e30)

    def narrow(*_: int):
        return large.astype(np.float16)

    with np.errstate(over="ignore"):
        list(side_by_side(narrow, range(3), 2))
        ahead = OneAhead(narrow, 3, 1)
        for first in range(3):
            ahead(first, first + 1)
        ahead.close()
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        list(side_by_side(narrow, range(3), 2))


def test_memory_bounds_how_many_runs_go_at_once(tmp_path):
    graph = opened(network("residual"), tmp_path / "m.onnx").graph
    one = live_bytes(graph)
    assert runs_at_once(graph, 4, 4 * one * 4, Device(threads=8)) == 3
    assert runs_at_once(graph, 4, 4 * one, Device(threads=8)) == 1
    assert runs_at_once(graph, 4, 1 << 30, Device(threads=8)) == 8
    assert runs_at_once(graph, 4, 1 << 30, Device("cuda", 8)) == 1
    assert runs_at_once(graph, 4, 1 << 30, Device()) <= (os.cpu_count() or 1)
    read = sum(tensor_bytes(value) for value in graph.inputs)
    assert batch_size(graph, 3 * (one + read), None) == 3  # the next three are read meanwhile


def test_an_error_of_a_run_in_a_thread_is_named(tmp_path):
    model = opened(network("residual"), tmp_path / "m.onnx")
    site = find_sites(model).sites[0]
    way = PerturbedModel(model, [site], model.output(), Device(threads=2), MEMORY)
    batch = way.prepare({model.inputs[0].name: np.zeros((3, *model.inputs[0].shape), np.float32)})
    batch.entry = {name: array[:, :1] for name, array in batch.entry.items()}
    change = Mask({site.name: np.ones(LOCATION.count(site), np.bool_)})
    with pytest.raises(ModelError, match="cannot run the model"):
        list(way.run_each(batch, [change, replace(change)], LOCATION))
