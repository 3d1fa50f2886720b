"""What a process asks of the system, in a process of its own, because it is asked for good."""

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, torch
from dogeared.compute import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.zeros(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
plain = faults()
keep_freed_memory()
keep_freed_memory()
for _ in range(3):
    faults()
print(plain, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_is_freed_is_used_again():
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    plain, kept = map(int, done.stdout.split())
    assert plain > 100
    assert kept < plain / 20
