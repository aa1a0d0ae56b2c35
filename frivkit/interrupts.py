"""Ctrl-C while the main thread is inside a library that does not look for signals.

Python runs its handler of SIGINT between two of its own instructions, so not before such a call
returns.  The operating system's handler also writes a byte to a socket; a thread that waits for it
asks the library to stop.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

GRACE = 2.0
"""Seconds that a call may go on after it was asked to stop, before the program ends itself."""


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
        asked = None
        while True:
            self._receiver.settimeout(None if asked is None else GRACE)
            try:
                received = self._receiver.recv(64)
            except TimeoutError:
                if asked is self.stop:
                    _end()
                asked = None
                continue
            ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
            if signal.SIGINT in received and ours and self.stop is not None:
                if asked is self.stop:  # a second Ctrl-C in the same call
                    _end()
                asked = self.stop
                asked()


_ends: list[Callable[[], None]] = []
_watchers: list[_Watcher] = []


def _watcher() -> _Watcher:
    """Return the watcher of this process; a fork has no threads of its parent."""
    if not _watchers or _watchers[0].process != os.getpid():
        _watchers[:] = [_Watcher()]
    return _watchers[0]


class StoppedByInterrupt:
    """A context manager that calls a function if SIGINT arrives in its block in the main thread.

    The block should then end soon, and Python raises ``KeyboardInterrupt``.  Nothing is done in
    other threads, or where SIGINT has another handler than Python's own.  A class, and not a
    generator, since it is entered for each batch.

    Args:
        stop: Asks the library in the block to return; called in another thread.
    """

    __slots__ = ("_before", "_outer", "_stop", "_watcher")

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def __enter__(self) -> None:
        self._watcher: _Watcher | None = None
        if threading.current_thread() is threading.main_thread():
            self._watcher = watcher = _watcher()
            self._outer, watcher.stop = watcher.stop, self._stop
            sender = watcher.sender.fileno()
            self._before = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)

    def __exit__(self, *_: object) -> None:
        if self._watcher is not None:
            signal.set_wakeup_fd(self._before)
            self._watcher.stop = self._outer


@contextlib.contextmanager
def giving_up(end: Callable[[], None]) -> Iterator[None]:
    """Let a function end the program if a call does not stop within :data:`GRACE` seconds.

    Args:
        end: Ends the program; called in another thread, after a block of
            :class:`StoppedByInterrupt` was asked to stop and did not.
    """
    _ends.append(end)
    try:
        yield
    finally:
        _ends.pop()


def _end() -> None:
    for end in _ends[-1:]:
        end()
