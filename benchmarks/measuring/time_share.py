"""The time of a compressed file as a share of the original's, by plain ONNX Runtime.

Networks run on one thread, and its processor time is measured: on an idle machine it equals the
elapsed time, and on a shared one it leaves out the waiting for other programs.
"""

from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Json = dict[str, Any]

BATCHES = (1, 16)
"""The batch sizes that are timed."""

THREADS = 1
SESSIONS = 3
"""Pairs of sessions that are opened one after the other: where the weights lie in memory differs
between sessions of one file."""

SECONDS = 1.5
"""The time of all turns of a pair of files at one batch size."""

TURN = 0.004
"""The least time of a turn in seconds; a short run is repeated within its turn.

A run that is not timed precedes each turn, since the other file's weights are in the caches.
"""

LEAST_TURNS = 5
"""The least number of turns with one pair of sessions."""


def time_shares(
    original: Path,
    compressed: Path,
    x: NDArray[np.float32],
    seconds: float = SECONDS,
    batches: tuple[int, ...] = BATCHES,
) -> dict[str, Json]:
    """Return the time of a compressed file as a share of the original's, by batch size.

    Both files take turns, in alternating order, and a share is the ratio of two neighbouring turns.

    Args:
        original: The original ONNX file.
        compressed: The compressed one.
        x: Examples, at least as many as the largest batch.
        seconds: The time for all turns of a batch size.
        batches: The batch sizes.

    Returns:
        By batch size the ``median`` share with its quartiles ``lower`` and ``upper``, the number of
        ``turns``, and the median ``seconds`` of the original.
    """
    turns: dict[int, list[tuple[float, float]]] = {batch: [] for batch in batches}
    for _ in range(SESSIONS):
        sessions = [_session(path) for path in (original, compressed)]
        for batch in batches:
            turns[batch] += _turns(sessions, x[:batch], seconds / SESSIONS)
    return {str(batch): _summary(pairs) for batch, pairs in turns.items()}


def _turns(
    sessions: list[ort.InferenceSession], x: NDArray[np.float32], seconds: float
) -> list[tuple[float, float]]:
    """Return the seconds of one run of each of two sessions, turn by turn."""
    runs = [(session, {session.get_inputs()[0].name: x}) for session in sessions]
    for session, inputs in runs * 2:  # the first runs allocate memory
        session.run(None, inputs)
    repeats = [max(1, round(TURN / _seconds(*run, 1))) for run in runs]
    pairs: list[tuple[float, float]] = []
    end = perf_counter() + seconds
    while perf_counter() < end or len(pairs) < LEAST_TURNS:
        pair = [0.0, 0.0]
        for which in (0, 1) if len(pairs) % 2 else (1, 0):
            pair[which] = _seconds(*runs[which], repeats[which])
        pairs.append((pair[0], pair[1]))
    return pairs


def _seconds(session: ort.InferenceSession, inputs: dict[str, Any], repeats: int) -> float:
    """Return the processor seconds of a run, behind one that is not timed."""
    session.run(None, inputs)
    start = thread_time()
    for _ in range(repeats):
        session.run(None, inputs)
    return (thread_time() - start) / repeats


def _summary(pairs: list[tuple[float, float]]) -> Json:
    seconds = np.array(pairs)
    lower, median, upper = np.quantile(seconds[:, 1] / seconds[:, 0], (0.25, 0.5, 0.75))
    return {
        "median": float(median),
        "lower": float(lower),
        "upper": float(upper),
        "turns": len(pairs),
        "seconds": float(np.median(seconds[:, 0])),
    }


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
