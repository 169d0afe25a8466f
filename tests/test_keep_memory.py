import platform
import subprocess
import sys

import pytest

from ksdiff.memory import keep_freed_memory
from tests.conftest import ROOT

SCRIPT = """
import resource, sys
import torch
from ksdiff.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(3, 10 * 2**20)  # 120 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
keep_freed_memory()
faults()  # until the first blocks have found their places
print(faults() / usual)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc's malloc what to do")
def test_freed_memory_is_used_again_instead_of_being_given_back():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1


def test_where_there_is_no_such_malloc_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda name: pytest.fail("asked for the C library"))
    keep_freed_memory()
