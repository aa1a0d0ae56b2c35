"""Ctrl-C while a library is running, and warnings of Python on one line."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
import warnings
import weakref

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from frivkit import interrupts
from frivkit.interrupts import giving_up, interruptible, stoppable
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
    # So does a call that nothing can stop, such as one of a library for linear algebra.
    ended.clear()
    interrupt_soon()
    with giving_up(end), pytest.raises(KeyboardInterrupt):
        libc.pthread_mutex_lock(mutex)
    assert ended.is_set()


def test_a_program_that_notices_is_not_ended(monkeypatch):
    monkeypatch.setattr(interrupts, "GRACE", 0.2)
    ended = threading.Event()
    with giving_up(ended.set):
        for _ in range(2):
            interrupt_soon()
            with pytest.raises(KeyboardInterrupt):
                time.sleep(5)
            time.sleep(0.4)
    assert not ended.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Referred:
    """What weak references can refer to."""


def waits_for(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_what_a_callback_drops_is_raised_again(in_main_thread):
    raised = []

    def work():
        referred = Referred()
        reference = weakref.ref(referred, lambda _: waits_for(1))
        interrupt_soon()
        del referred  # Python drops what is raised in the callback
        del reference
        try:
            waits_for(3)
        except KeyboardInterrupt as error:
            raised.append(error)

    def until_interrupted():
        with contextlib.suppress(KeyboardInterrupt):
            interruptible(work)()

    def work_in_a_thread():
        thread = threading.Thread(target=until_interrupted)
        thread.start()
        try:
            time.sleep(5)
        except KeyboardInterrupt:
            thread.join()  # it is interrupted while the main thread handles this

    with giving_up(lambda: None):
        (work if in_main_thread else work_in_a_thread)()
    assert raised


def waits_in_the_runtime() -> None:
    Session(ir.from_proto(endless()), Device(threads=1)).run(
        {"x": np.zeros((1, 4), np.float32)}, ["y"]
    )


def waits_in_python() -> None:
    while True:
        sum(range(1000))


@pytest.mark.parametrize("work", [waits_in_the_runtime, waits_in_python])
def test_other_threads_are_interrupted_with_the_main_one(work):
    raised: list[BaseException] = []
    ended = threading.Event()

    def run():
        try:
            interruptible(work)()
        except BaseException as error:
            raised.append(error)
            ended.set()

    threading.Thread(target=run).start()
    interrupt_soon()
    try:
        ended.wait(10)
    except KeyboardInterrupt:  # a pool of threads waits like this where it is left
        assert ended.wait(3)
    assert [type(error) for error in raised] == [KeyboardInterrupt]


def test_a_function_that_ends_at_the_moment_of_ctrl_c_interrupts_nothing_behind_it():
    raised: list[BaseException] = []

    def run():
        try:
            interruptible(interrupts._watchers[0].interrupt_threads)()
        except BaseException as error:
            raised.append(error)
        sum(range(100_000))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(5)
    assert [type(error) for error in raised] == [KeyboardInterrupt]
    assert not interrupts._watchers[0].threads


@pytest.mark.filterwarnings("default")
def test_warnings_are_one_line_without_the_source_and_those_of_numbers_are_dropped():
    shown: list[str] = []
    with warnings_as_lines(shown.append):
        warnings.warn("a plugin\n  says so", stacklevel=1)
        assert np.isinf(np.array([1e30]).astype(np.float16)).all()
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert shown == ["a plugin says so"]
