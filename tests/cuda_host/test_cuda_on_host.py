"""The host's CUDA itself: what it runs right, and what it must refuse."""

import pytest


def test_barriers_and_shuffles_let_threads_work_together(probe):
    blocks, threads = 3, 96
    values = range(blocks * threads)
    expected = [sum(values[b * threads : (b + 1) * threads]) for b in range(blocks)]
    assert probe.sums_of_blocks(blocks, threads) == expected


FAULTS = {
    "skip_a_barrier": "a thread skipped __syncthreads",
    "skip_a_shuffle": "a lane skipped a warp shuffle",
    "read_unaligned": "misaligned load",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_hangs_or_faults_on_a_gpu_is_an_error_here(probe, fault):
    with pytest.raises(RuntimeError, match=FAULTS[fault]):
        getattr(probe, fault)()
    assert probe.sums_of_blocks(1, 32) == [sum(range(32))]
