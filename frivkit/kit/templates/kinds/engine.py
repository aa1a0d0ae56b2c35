"""Tasks in threads of this process."""

from concurrent.futures import ThreadPoolExecutor

from frivkit.plugin import ExecutorEngine


def threads(text: str) -> ExecutorEngine:
    """Open it; ``text`` is the number of threads, 2 if it is empty."""
    count = int(text or 2)
    return ExecutorEngine(ThreadPoolExecutor(count), workers=count, threads=1)
