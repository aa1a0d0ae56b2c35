"""Ctrl-C while a library runs that does not look for signals, and in other threads than the main.

Python runs its handler of SIGINT in the main thread alone, and there between two of its own
instructions: not before a call of a library returns.  The operating system's handler also writes a
byte to a socket.  A thread that waits for it asks the calls that are running to stop, and ends the
program where that does not help.  For functions in other threads a second thread looks whether the
main thread is ending by a KeyboardInterrupt, since no signal can be had there.
Calls in threads that work for one function belong to a group, which that function asks to stop.
Python drops what is raised in a callback of a weak reference or in ``__del__``, KeyboardInterrupt
included, and libraries have such callbacks; what was dropped is raised again.
"""

import atexit
import contextlib
import ctypes
import functools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")
GRACE = 2.0
"""Seconds in which the main thread is to notice Ctrl-C, before the program ends itself."""
DOUBLE = 0.3
"""Seconds within which a second signal is no second Ctrl-C: some come twice."""
LOOK = 0.2
"""Seconds between two looks at the main thread."""
AGAIN = 0.05
"""Seconds until a KeyboardInterrupt is raised again that a callback dropped."""
_NOTICED = b"\0"


class _Watcher:
    """A thread that waits for SIGINT, and one that watches the main thread.

    Attributes:
        process: The process that the threads are in.
        stops: By thread, what asks the call that it is in to stop.
        threads: The threads other than the main one that are interrupted with it.
        interrupted: Those of them that were.
        lock: Held while ``threads`` or ``interrupted`` change.
        descriptor: Where the operating system's handler writes the numbers of signals.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.stops: dict[int, Callable[[], None] | None] = {}
        self.threads: set[int] = set()
        self.interrupted: set[int] = set()
        self.lock = threading.RLock()
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self.descriptor = self._sender.fileno()
        self._start(self._watch)
        atexit.register(self._let_threads_end)

    def noticed(self) -> None:
        """Tell that Python's handler has run."""
        with contextlib.suppress(OSError):
            self._sender.send(_NOTICED)

    def add(self, thread: int) -> None:
        """Interrupt a thread when the main thread is."""
        with self.lock:
            self.threads.add(thread)
            if len(self.threads) == 1:
                self._start(self._look)

    def remove(self, thread: int) -> bool:
        """Interrupt a thread no more; return whether it was, and take back what is to come."""
        with self.lock:
            self.threads.discard(thread)
            was = thread in self.interrupted
            self.interrupted.discard(thread)
            if was:
                _raise_in(thread, None)
        return was

    def interrupt_threads(self) -> None:
        """Raise KeyboardInterrupt in the added threads, and ask their calls to stop."""
        with self.lock:
            for thread in self.threads - self.interrupted:
                self.interrupted.add(thread)
                _raise_in(thread, KeyboardInterrupt)
                self._stop(thread)

    def interrupt_again(self, thread: int) -> None:
        """Interrupt a thread again, unless what was to be interrupted has ended."""
        if thread == threading.main_thread().ident:
            if _ends:
                if hasattr(signal, "pthread_kill"):  # it also ends a wait of the main thread
                    signal.pthread_kill(thread, signal.SIGINT)
                else:
                    signal.raise_signal(signal.SIGINT)
            return
        with self.lock:
            if thread in self.interrupted:
                _raise_in(thread, KeyboardInterrupt)

    def _start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="frivkit interrupts", daemon=True).start()

    def _stop(self, thread: int) -> None:
        stop = self.stops.get(thread)
        if stop is not None:
            stop()

    def _watch(self) -> None:
        since: float | None = None  # when the main thread was to notice
        while True:
            left = None if since is None else max(0.0, since + GRACE - time.monotonic())
            self._receiver.settimeout(left)
            try:
                received = self._receiver.recv(64)
            except TimeoutError:
                _end()
                since = None
                continue
            if received.endswith(_NOTICED):
                since = None
            elif signal.SIGINT in received and signal.getsignal(signal.SIGINT) in _OWN:
                now = time.monotonic()
                if since is not None and now - since > DOUBLE:  # a second Ctrl-C
                    _end()
                since = since or (now if _ends else None)
                for thread in list(self.stops):
                    self._stop(thread)

    def _let_threads_end(self) -> None:
        """Wait for interrupted threads at the end of the program, as Python itself may not."""
        if self.process == os.getpid() and self.threads and _main_is_interrupted():
            self.interrupt_threads()
            end = time.monotonic() + GRACE
            while self.threads and time.monotonic() < end:
                time.sleep(0.01)

    def _look(self) -> None:
        while self.threads:
            if _main_is_interrupted():
                self.interrupt_threads()
            time.sleep(LOOK)


class StopGroup:
    """What asks the calls of some threads to stop, all at once.

    Example:
        >>> group = StopGroup()
        >>> group.stop()
        >>> calls = []
        >>> group.call(lambda: "ended", lambda: calls.append("stop"))
        'ended'
        >>> calls
        ['stop']
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: dict[int, Callable[[], None]] = {}
        self._stopped = False

    def join(self) -> None:
        """Let the calls of this thread be asked to stop with the others."""
        _member.group = self

    def call(self, call: Callable[[], Result], stop: Callable[[], None]) -> Result:
        """Return what a call returns, which is asked to stop when the group is, or at once."""
        here = threading.get_ident()
        with self._lock:
            self._stops[here] = stop
            stopped = self._stopped
        try:
            if stopped:
                stop()
            return call()
        finally:
            with self._lock:
                del self._stops[here]

    def stop(self) -> None:
        """Ask all calls to stop, those that come later included."""
        with self._lock:
            self._stopped = True
            stops = list(self._stops.values())
        for stop in stops:
            stop()


_member = threading.local()
"""The group of a thread, as ``group``."""
_ends: list[Callable[[], None]] = []
_watchers: list[_Watcher] = []


def _watcher() -> _Watcher | None:
    """Return the watcher of this process, None if none can be had; a fork has none at first."""
    if not _watchers or _watchers[0].process != os.getpid():
        try:
            _watchers[:] = [_Watcher()]
        except (RuntimeError, OSError):  # no thread or no socket can be had
            return None
    return _watchers[0]


def stoppable(call: Callable[[], Result], stop: Callable[[], None]) -> Result:
    """Return what a call returns, which SIGINT asks to stop while it runs.

    The call should then end soon, and ``KeyboardInterrupt`` is raised in the main thread, and in
    others within an :func:`interruptible` function.  Nothing is done where SIGINT has another
    handler than Python's own.  In threads of a :class:`StopGroup`, that asks
    it, too.

    Args:
        call: Calls the library.
        stop: Asks the library to return; called in another thread.

    Raises:
        Whatever the call raises, and ``KeyboardInterrupt``.
    """
    group: StopGroup | None = getattr(_member, "group", None)
    if group is not None:
        return group.call(call, stop)
    watcher, thread = _watcher(), threading.get_ident()
    if watcher is None:
        return call()
    is_main = threading.current_thread() is threading.main_thread()
    outer, before = watcher.stops.get(thread), None
    try:
        watcher.stops[thread] = stop
        if is_main:
            before = signal.set_wakeup_fd(watcher.descriptor, warn_on_full_buffer=False)
        return call()
    finally:
        # No call comes first: behind a call, Python would raise KeyboardInterrupt.
        watcher.stops[thread] = outer
        if before is not None:
            signal.set_wakeup_fd(before)


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Keep Ctrl-C from the processes and threads that the block starts.

    A terminal sends SIGINT to all processes of a program.  Those that work for another one would
    print a traceback each, also while they start.  They inherit from this thread that the signal is
    blocked; what came meanwhile is handled after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows, where workers ignore it later
        yield
        return
    _start_tracker()  # which would unblock the signal if it started later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_tracker() -> None:
    """Start Python's tracker of semaphores, which outlives a program that ends at once.

    It removes what the program left, as it should, and must not warn of it on the terminal.
    """
    options = list(sys.warnoptions)
    sys.warnoptions.append("ignore:resource_tracker")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions[:] = options


def interruptible(function: Callable[P, Result]) -> Callable[P, Result]:
    """Return a function that ends in any thread when Ctrl-C ends what the main thread does.

    Python raises ``KeyboardInterrupt`` in the main thread alone, and a function that goes on in
    another would keep the program from ending.  While the main thread handles that error, or ended
    by it, it is raised in the thread of the function, too.
    """

    @functools.wraps(function)
    def ended_with_the_main_thread(*args: P.args, **kwargs: P.kwargs) -> Result:
        is_main = threading.current_thread() is threading.main_thread()
        watcher, thread = None if is_main else _watcher(), threading.get_ident()
        if watcher is None or thread in watcher.threads:
            return function(*args, **kwargs)
        try:
            watcher.add(thread)
            result = function(*args, **kwargs)
        except BaseException as error:
            if watcher.remove(thread) and not isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt from error  # a call failed that was asked to stop
            raise
        if watcher.remove(thread):
            raise KeyboardInterrupt
        return result

    return ended_with_the_main_thread


@contextlib.contextmanager
def giving_up(end: Callable[[], None]) -> Iterator[None]:
    """Let a function end the program if the block has not noticed Ctrl-C after :data:`GRACE` s.

    A KeyboardInterrupt that Python drops in the block is raised again.

    Args:
        end: Ends the program; called in another thread.
    """
    watcher = _watcher()
    is_main = threading.current_thread() is threading.main_thread()
    if watcher is None or not is_main or signal.getsignal(signal.SIGINT) not in _OWN:
        yield
        return
    handler = signal.signal(signal.SIGINT, _noticing)
    before = signal.set_wakeup_fd(watcher.descriptor, warn_on_full_buffer=False)
    _ends.append(end)
    hook = sys.unraisablehook
    sys.unraisablehook = functools.partial(_dropped, watcher, hook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        _ends.pop()
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGINT, handler)


def _dropped(watcher: _Watcher, hook: Callable[[Any], object], unraisable: Any) -> None:
    """Raise a dropped KeyboardInterrupt again, behind the callback; hand others to a hook."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        hook(unraisable)
        return
    again = threading.Timer(AGAIN, watcher.interrupt_again, [threading.get_ident()])
    again.daemon = True
    again.start()


def _noticing(number: int, frame: Any) -> None:
    """Raise KeyboardInterrupt, as Python's own handler does, and say so to the watcher."""
    watcher = _watcher()
    if watcher is not None:
        watcher.noticed()
    signal.default_int_handler(number, frame)


_OWN = (signal.default_int_handler, _noticing)
"""Handlers of SIGINT that raise KeyboardInterrupt."""


def _end() -> None:
    for end in _ends[-1:]:
        end()


def _main_is_interrupted() -> bool:
    """Whether the main thread handles a KeyboardInterrupt, or ended by one."""
    main = threading.main_thread()
    if not main.is_alive():
        return getattr(sys, "last_type", None) is KeyboardInterrupt
    error: Any = sys._current_exceptions().get(main.ident or 0)
    if isinstance(error, tuple):  # type, value and traceback, before Python 3.12
        error = error[1]
    return isinstance(error, KeyboardInterrupt)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an error in a thread as soon as it runs Python, or take it back."""
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
