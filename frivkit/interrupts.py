"""Ctrl-C while a thread is inside a library that does not look for signals.

Python runs its handler of SIGINT between two of its own instructions, so not before such a call
returns.  The operating system's handler also writes a byte to a socket; a thread that waits for it
asks the library to stop.  Calls in threads that work for the main thread belong to a group, which
the main thread asks to stop.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

Result = TypeVar("Result")
GRACE = 2.0
"""Seconds that a call may go on after it was requested to stop, before the program ends itself."""


class _Watcher:
    """A thread that waits for SIGINT while a call is running.

    Attributes:
        process: The process that the thread is in.
        sender: Where the operating system's handler writes the numbers of signals.
        stop: What asks the call to stop, None while there is none.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.stop: Callable[[], None] | None = None
        self._receiver, self.sender = socket.socketpair()
        self.sender.setblocking(False)
        threading.Thread(target=self._watch, name="frivkit interrupts", daemon=True).start()

    def _watch(self) -> None:
        requested = None
        while True:
            self._receiver.settimeout(None if requested is None else GRACE)
            try:
                received = self._receiver.recv(64)
            except TimeoutError:
                if requested is self.stop:
                    _end()
                requested = None
                continue
            ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
            if signal.SIGINT in received and ours and self.stop is not None:
                if requested is self.stop:  # a second Ctrl-C in the same call
                    _end()
                requested = self.stop
                requested()


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


def _watcher() -> _Watcher:
    """Return the watcher of this process; a fork has no threads of its parent."""
    if not _watchers or _watchers[0].process != os.getpid():
        _watchers[:] = [_Watcher()]
    return _watchers[0]


def stoppable(call: Callable[[], Result], stop: Callable[[], None]) -> Result:
    """Return what a call returns, which SIGINT asks to stop while it runs in the main thread.

    The call should then end soon, and Python raises ``KeyboardInterrupt``.  In other threads their
    :class:`StopGroup` asks it, if they have one.  Nothing is done where SIGINT has another handler
    than Python's own.

    Args:
        call: Calls the library.
        stop: Asks the library to return; called in another thread.

    Raises:
        Whatever the call raises, and ``KeyboardInterrupt``.
    """
    if threading.current_thread() is not threading.main_thread():
        group: StopGroup | None = getattr(_member, "group", None)
        return call() if group is None else group.call(call, stop)
    try:
        watcher = _watcher()
    except (RuntimeError, OSError):  # no thread or no socket can be had
        return call()
    outer, before = watcher.stop, None
    try:
        watcher.stop = stop
        before = signal.set_wakeup_fd(watcher.sender.fileno(), warn_on_full_buffer=False)
        return call()
    finally:
        # No call comes first: behind a call, Python would raise KeyboardInterrupt.
        watcher.stop = outer
        if before is not None:
            signal.set_wakeup_fd(before)


@contextlib.contextmanager
def giving_up(end: Callable[[], None]) -> Iterator[None]:
    """Let a function end the program if a call does not stop within :data:`GRACE` seconds.

    Args:
        end: Ends the program; called in another thread, after a call of
            :func:`stoppable` was requested to stop and did not.
    """
    _ends.append(end)
    try:
        yield
    finally:
        _ends.pop()


def _end() -> None:
    for end in _ends[-1:]:
        end()
