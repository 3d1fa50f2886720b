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


_RELEASED = """
import torch
from dogeared.compute import keep_freed_memory, release_freed_memory
def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1000
keep_freed_memory()
before = held()
kept = [torch.zeros(1 << 20) for _ in range(100)]
last = kept[-1]
del kept
full = held()
release_freed_memory()
print(full - before, held() - before, float(last.sum()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_is_kept_can_be_given_back():
    done = subprocess.run([sys.executable, "-c", _RELEASED], capture_output=True, text=True, check=True)
    full, left, total = map(float, done.stdout.split())
    assert full > 390
    assert left < full / 4
    assert total == 0.0
