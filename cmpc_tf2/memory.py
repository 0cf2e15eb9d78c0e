"""How the process asks the system for memory."""

import ctypes
import sys

# Options of glibc's mallopt, from its malloc.h, and what they are set to.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
LARGEST = 2**31 - 1


def keep_freed_memory():
    """Has the C library keep freed memory for the next tensor, for the whole process.

    Left alone, glibc gives a large block back to the system as soon as it is freed, and asks for an empty one for the
    next tensor, whose pages the system has to clear first. Peak memory stays as it is, but the process does not shrink
    afterwards. Without glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
    for option, value in ((TRIM_THRESHOLD, LARGEST), (MMAP_MAX, 0), (ARENA_MAX, 1)):
        set_option(option, value)
