"""Small work runs on one thread, and the caller's number of threads stays."""

import pytest
import torch

from ksdiff.threads import alone_if_small


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
