"""`ksdiff.Sharpener` on arrays: what it takes, and that it says what is wrong with the rest."""

import numpy as np
import pytest
import torch

import ksdiff

PAN, MS = torch.rand(64, 64) + 1, torch.rand(8, 16, 16) + 1


@pytest.fixture(scope="module")
def sharpener() -> ksdiff.Sharpener:
    return ksdiff.Sharpener("ksdiff-s-8band", device="cpu")


@pytest.mark.parametrize(
    "pan, ms, problem",
    [
        (PAN[None, None], MS, r"pan: .*\(1, 1, 64, 64\)"),
        (PAN, MS[None], r"ms: .*\(1, 8, 16, 16\)"),
        (PAN, MS[0], r"ms: .*\(16, 16\)"),
        (PAN.expand(3, -1, -1), MS, r"pan: .*\(3, 64, 64\)"),
        (PAN, MS[:4], "for 8 bands .* has 4 bands"),
        (PAN, MS[:, :15], "2, 3, ... or 8 times"),
        (PAN > 1, MS, "pan: expected real values, got torch.bool"),
        (PAN, MS.to(torch.complex64), "ms: expected real values, got torch.complex64"),
        (np.full((64, 64), "x"), MS, "pan: .*array of real numbers"),
        (None, MS, "pan: .*array of real numbers"),
        (torch.full((64, 64), torch.nan), MS, "no pixel with data"),
    ],
)
def test_what_is_no_pair_is_refused_by_name(sharpener, pan, ms, problem):
    with pytest.raises(ksdiff.KSDiffError, match=problem):
        sharpener.sharpen(pan, ms)


def test_tensors_arrays_and_leaves_of_a_graph_give_the_same(sharpener):
    fused = sharpener.sharpen(PAN, MS)
    assert fused.shape == (8, 64, 64) and fused.isfinite().all()
    assert np.array_equal(sharpener.sharpen(PAN.numpy(), MS.numpy()), fused.numpy())
    assert torch.equal(sharpener.sharpen(PAN.clone().requires_grad_(), MS[:]), fused)
