from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource
from worldmodels.core.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        b"x" * 50_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, kept = faults(), keep_freed_memory()
faults()
print(before, kept, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="tells of glibc")
def test_memory_that_was_freed_is_used_again_without_new_pages():
    told = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout.split()
    if told[1] == "False":
        pytest.skip("another C library")
    before, after = int(told[0]), int(told[2])
    assert before >= 5 * 20, "each page is new, also where pages are huge"
    assert after < before / 10
