"""The host's CUDA itself: what it runs right, and what it must refuse."""

import pytest


def test_barriers_and_shuffles_let_threads_work_together(probe):
    blocks, threads = 3, 96
    values = range(blocks * threads)
    expected = [sum(values[b * threads : (b + 1) * threads]) for b in range(blocks)]
    assert probe.sums_of_blocks(blocks, threads) == expected


FAULTS = {
    "skip_a_barrier": "a thread skipped __syncthreads: thread 5 passed 0 barriers",
    "skip_a_shuffle": "a lane skipped a warp shuffle",
    "meet_at_different_barriers": "threads stand at different barriers",
    "read_unaligned": "misaligned access of 16 bytes",
    "write_unaligned": "misaligned access of 16 bytes",
    "read_shared_unaligned": "misaligned access of shared memory",
    "read_beyond_shared_memory": "access beyond shared memory",
    "write_what_another_writes": "race: two threads at one place",
    "read_what_another_writes": "race: two threads at one place",
    "read_what_another_copied": "race: two threads at one place",
    "read_a_copy_before_it_is_there": "while a copy to it is under way",
    "never_wait_for_a_copy": "a copy was never waited for",
    "copy_from_an_odd_address": "misaligned access of 16 bytes",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_hangs_or_faults_on_a_gpu_is_an_error_here(probe, fault):
    with pytest.raises(RuntimeError, match=FAULTS[fault]):
        getattr(probe, fault)()
    assert probe.sums_of_blocks(1, 32) == [sum(range(32))]


def test_threads_run_in_another_order_every_time(probe):
    assert len({probe.order_of_threads() for _ in range(5)}) > 1
