"""Hints where bands look exchanged."""

import itertools

import pytest
import torch

from ksdiff.images.order import order_hint

NAMES = ("blue", "green", "red", "nir")


def scene(seed: int = 0, haze: float = 1.0) -> torch.Tensor:
    """Plants and bare ground under haze: visible bands alike, near infrared bright on plants."""
    draw = torch.Generator().manual_seed(seed)
    bright, plants = torch.rand(2, 64, 64, generator=draw)
    fine = 0.03 * torch.rand(4, 64, 64, generator=draw)
    visible = [(0.1 + bright) * (1 - 0.15 * plants) + haze * veil for veil in (0.9, 0.5, 0.15)]
    return 1000 * (torch.stack([*visible, 0.2 + 2 * plants]) + fine)[None]


@pytest.mark.parametrize("seed", range(3))
def test_bands_in_their_order_give_no_hint(seed):
    assert order_hint([scene(seed), scene(seed + 9)], NAMES) is None
    assert order_hint([scene(seed, haze=0)], NAMES) is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_bands_in_other_orders_give_one(order):
    hint = order_hint([scene()[:, list(order)]], NAMES)
    if order[3] != 3:
        at = order.index(3)
        assert f"band {at + 1} is taken as {NAMES[at]} and band 4 as near infrared" in hint
    elif order[:3] == (2, 1, 0):
        assert "bands 1, 2, 3 are taken as blue, green, red" in hint and "--bands" in hint
    else:  # half exchanged: too little to go by
        assert hint is None


def test_nothing_is_said_where_too_little_is_known():
    exchanged = scene()[:, [2, 1, 0, 3]]
    assert order_hint([exchanged], ("red", "green", "blue", "nir")) is None
    assert order_hint([exchanged], ("band 1", "band 2", "band 3", "band 4")) is None
    assert order_hint([exchanged[..., :40, :40]], NAMES) is None
    assert order_hint([torch.ones(1, 4, 64, 64)], NAMES) is None
    assert order_hint([torch.rand(1, 4, 64, 64)], NAMES) is None
