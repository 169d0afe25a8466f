"""Freed memory is kept; small work runs on one thread, and the number of threads stays."""

import platform
import subprocess
import sys

import pytest
import torch

from ksdiff.runtime import alone_if_small, keep_freed_memory, return_large_blocks
from tests.support import ROOT

SCRIPT = """
import resource, sys
import torch
from ksdiff.runtime import keep_freed_memory, return_large_blocks

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(3, 10 * 2**20)  # 120 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

usual = faults()
keep_freed_memory()
faults()  # until the first blocks have found their places
kept = faults()
return_large_blocks()
faults()
before = resident()
torch.ones(2**23)
print(kept / usual, resident() - before)
"""


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("shape", "inside"),
    [((1, 8, 256, 256), 1), ((4, 8, 256, 256), 1), ((5, 8, 256, 256), 2), ((1, 16, 32), 1)],
)
def test_threads_inside_follow_the_size(shape, inside):
    with alone_if_small(torch.empty(1).expand(shape)):
        assert torch.get_num_threads() == inside
    assert torch.get_num_threads() == 2


def test_threads_come_back_after_an_error():
    with pytest.raises(RuntimeError, match="lost"), alone_if_small(torch.zeros(1, 1, 1)):
        raise RuntimeError("lost")
    assert torch.get_num_threads() == 2


def test_other_devices_keep_their_threads():
    with alone_if_small(torch.empty(1, 1, 1, device="meta")):
        assert torch.get_num_threads() == 2


def test_compiles_without_a_break():
    @torch.compile(fullgraph=True, backend="eager")
    def doubled(x):
        with alone_if_small(x):
            return 2 * x

    assert doubled(torch.ones(1, 2, 3)).sum() == 12


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc's malloc what to do")
def test_freed_memory_is_used_again_or_given_back_as_told():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kept, grown = map(float, done.stdout.split())
    assert kept < 0.1
    assert grown < 2**23  # of a block of four times as much


def test_where_there_is_no_such_malloc_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    monkeypatch.setattr("ctypes.CDLL", lambda name: pytest.fail("asked for the C library"))
    keep_freed_memory()
    return_large_blocks()
