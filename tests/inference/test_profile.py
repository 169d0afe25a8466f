import pytest
import torch

import ksdiff_ops
from ksdiff.errors import KSDiffError
from ksdiff.inference.profile import Machine, Part, count_flops, profile


@pytest.fixture(scope="module", params=[{"weights": "ksdiff-s-8band"}, {"bands": 3}])
def profiled(request):
    return profile(**request.param, size=64, device="cpu", rounds=1)


def test_every_part_of_the_way_is_timed_and_has_a_floor(profiled):
    parts, machine = profiled
    assert [part.name for part in parts] == [
        *("read", "prepare inputs", "condition encoder", "latent steps", "kernel generation"),
        *("network", "back projection", "write"),
    ]
    assert all(part.seconds > 0 and part.floor(machine) > 0 for part in parts)
    network = next(part for part in parts if part.name == "network")
    assert network.flops > sum(part.flops for part in parts) / 2


def test_the_floor_is_the_slower_of_computing_and_moving():
    machine = Machine(flops_per_second=100.0, bytes_per_second=10.0)
    assert Part("a", 9.0, flops=400, least_bytes=10).floor(machine) == 4.0
    assert Part("a", 9.0, flops=100, least_bytes=50).floor(machine) == 5.0


def test_operations_of_the_own_operators_are_counted():
    x, coeff = torch.rand(1, 4, 6, 6), torch.rand(1, 4, 2, 6, 6)
    basis, attention = torch.rand(1, 4, 2, 3, 3), torch.rand(1, 3, 3, 6, 6)
    weight, kernels = torch.rand(5, 4, 3, 3), torch.rand(1, 2, 3, 3, 6, 6)
    lowrank = count_flops(lambda: ksdiff_ops.lowrank_dynamic_conv(x, coeff, basis))
    adaptive = count_flops(lambda: ksdiff_ops.adaptive_conv2d(x, attention, weight))
    dynamic = count_flops(lambda: ksdiff_ops.dynamic_conv(x, kernels))
    assert lowrank == 36 * 9 * (4 * 2 * 2 + 4 * 2)
    assert adaptive == 36 * 9 * 2 * 4 * 5
    assert dynamic == 36 * 9 * 4 * 2


@pytest.mark.parametrize("size", [0, 100, 8192])
def test_a_size_that_no_window_has_is_refused(size):
    with pytest.raises(KSDiffError, match=f"size: .*got {size}"):
        profile(size=size)
