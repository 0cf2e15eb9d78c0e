"""Process pools that end with the process that started them, and locks between processes."""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import filelock

from cmpc_tf2.errors import InputError


@contextlib.contextmanager
def process_pool(workers: int, hint: str = "") -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Starts a pool of fresh processes: nothing is inherited, and none of them outlives this one, even if it is killed.

    Args:
        workers: Number of processes.
        hint: Added to the message if one of them is killed.

    Raises:
        InputError: A process of the pool was killed while the block ran.
    """
    if os.name == "nt":
        workers = min(workers, 61)  # Windows waits for no more at once.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed, probably because memory ran out; run the same command with fewer --workers"
            + hint
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def map_in_order(function: Callable, items: Iterable, workers: int) -> Iterator[tuple]:
    """Pairs of each item and its result, in order. However many items there are, only a few are held at a time.

    Args:
        function: Computes the result of an item; with workers it has to be picklable.
        items: The items; they are made in this process.
        workers: Processes; 0 computes in this one.
    """
    if not workers:
        yield from ((item, function(item)) for item in items)
        return
    with process_pool(workers) as pool:
        waiting = collections.deque()
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            while len(waiting) > 4 * workers or (waiting and waiting[0][1].done()):
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def _follow_parent():
    """Ends this process with its parent, and not at Ctrl-C, which the parent gets too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait():
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def locked(path: Path, problem: str) -> Iterator[None]:
    """Holds a lock that only one process can have. It ends with the block, or when the process dies.

    Args:
        path: The lock file; it is removed at the end. Its folder is made.
        problem: The message if another process holds it.

    Raises:
        InputError: Another process holds the lock.
    """
    os.makedirs(path.parent, exist_ok=True)
    try:
        lock = filelock.FileLock(path).acquire(timeout=0)
    except filelock.Timeout as error:
        raise InputError(problem) from error
    with lock:
        try:
            yield
        finally:
            with contextlib.suppress(PermissionError):  # Windows removes no open file.
                path.unlink(missing_ok=True)
