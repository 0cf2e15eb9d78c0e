"""Pools of processes that end with the one that started them."""

import concurrent.futures
import multiprocessing
import os
import threading


def process_pool(workers: int) -> concurrent.futures.ProcessPoolExecutor:
    """A pool of fresh processes: nothing is inherited, and none of them outlives this one, even if it is killed."""
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_exit_with_parent)


def _exit_with_parent():
    parent = multiprocessing.parent_process()

    def wait():
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
