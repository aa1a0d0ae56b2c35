"""Ctrl-C while a library is running, and warnings of Python on one line."""

import ctypes
import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from frivkit import interrupts
from frivkit.interrupts import giving_up, stoppable
from frivkit.runtime.session import Device, Session
from frivkit.warning_lines import warnings_as_lines


@pytest.fixture(autouse=True)
def python_handles_ctrl_c():
    """Give SIGINT Python's own handler, which a shell in the background takes from its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_soon() -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()


def endless() -> onnx.ModelProto:
    """Return a graph whose loop adds 1 to its input for hours."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Add", ["v", "one"], ["w"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["N", 4]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, ["N", 4]),
        ],
        [numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "cond", "x"], ["y"], body=body)],
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [
            numpy_helper.from_array(np.array(1 << 50), "times"),
            numpy_helper.from_array(np.array(True), "cond"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_run_inside_the_runtime_is_ended():
    session = Session(ir.from_proto(endless()), Device(threads=1))
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        session.run({"x": np.zeros((1, 4), np.float32)}, ["y"])
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.skipif(sys.platform != "linux", reason="calls the mutex of glibc")
def test_a_call_that_does_not_stop_ends_the_program(monkeypatch):
    monkeypatch.setattr(interrupts, "GRACE", 0.1)
    requested, ended = threading.Event(), threading.Event()
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)

    def end():
        ended.set()
        libc.pthread_mutex_unlock(mutex)

    interrupt_soon()
    with giving_up(end), pytest.raises(KeyboardInterrupt):
        stoppable(lambda: libc.pthread_mutex_lock(mutex), requested.set)  # goes on after a signal
    assert requested.is_set()
    assert ended.is_set()


def test_another_handler_keeps_its_say():
    requested, seen = [], []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        stoppable(lambda: os.kill(os.getpid(), signal.SIGINT), lambda: requested.append(1))
        time.sleep(0.1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (requested, seen) == ([], [1])


@pytest.mark.filterwarnings("default")
def test_warnings_are_one_line_without_the_source_and_those_of_numbers_are_dropped():
    shown: list[str] = []
    with warnings_as_lines(shown.append):
        warnings.warn("a plugin\n  says so", stacklevel=1)
        assert np.isinf(np.array([1e30]).astype(np.float16)).all()
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert shown == ["a plugin says so"]
