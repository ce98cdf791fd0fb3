"""What is settled by measuring."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from atrous.measure import keep_freed_memory
if {keep}:
    keep_freed_memory()
for turn in range(30):  # blocks are aligned, and it takes some until one that was freed fits the next
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = torch.ones(12_000_000)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
@pytest.mark.slow
def test_memory_that_is_kept_is_not_cleared_again() -> None:
    given_back = faults(False)
    if given_back < 1000:
        pytest.skip("this system's malloc keeps large blocks by itself")
    assert faults(True) < given_back / 10
