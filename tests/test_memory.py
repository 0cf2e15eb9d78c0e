"""Freed memory is kept: the next block does not need new pages."""

import subprocess
import sys

import pytest

COUNT_PAGE_FAULTS = """
import resource
from cmpc_tf2.memory import keep_freed_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        b"x" * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

default = page_faults()
keep_freed_memory()
b"x" * 2**26
print(default, page_faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_a_freed_block_is_used_again_without_new_pages():
    output = subprocess.run([sys.executable, "-c", COUNT_PAGE_FAULTS], capture_output=True, text=True, check=True)
    default, kept = map(int, output.stdout.split())
    assert kept < default / 10
