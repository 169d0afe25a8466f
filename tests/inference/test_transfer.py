from dataclasses import replace

import numpy as np
import pytest
import torch

from ksdiff import Sharpener
from ksdiff.images.pair import ArrayPair
from ksdiff.inference.transfer import download, held_back, upload
from ksdiff.inference.windows import fused_windows
from ksdiff.synthetic.scene import procedural_scene

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def large():
    """Pan [1, 640, 512] and ms [4, 160, 128] with holes: two rows of two windows at tile 256."""
    pan, ms, _ = procedural_scene(seed=4, size=640, bands=4)
    pan, ms = pan[:, :, :512].astype("float32"), ms[:, :, :128].astype("float32")
    ms[2, 30:40, 20:50] = np.nan
    return pan, ms


class Noting(ArrayPair):
    """Notes what is read."""

    def __init__(self, *images):
        super().__init__(*images)
        self.notes = []

    def read(self, *at):
        self.notes.append("read")
        return super().read(*at)


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_items_come_in_order_and_as_late_as_asked(count):
    drawn = []

    def draw():
        for item in range(5):
            drawn.append(item)
            yield item

    seen = [(item, len(drawn)) for item in held_back(draw(), count)]
    assert seen == [(item, min(item + 1 + count, 5)) for item in range(5)]


def test_on_a_cpu_nothing_is_copied():
    x = torch.rand(3, 4, 5)[:, 1:]
    assert upload(x, CPU) is x
    assert download(x)() is x


def test_one_window_in_flight_changes_when_it_is_read_and_no_bit(large, shaken):
    sharpener = Sharpener(shaken, device="cpu", tile=256)
    pair = Noting(*large)
    scene = replace(sharpener.prepare(pair), pair=pair)  # as it is, though registered before
    expanded = lambda pan, ms: ms[0].repeat_interleave(4, 1).repeat_interleave(4, 2)  # noqa: E731
    orders = []
    for in_flight in (0, 1):
        pair.notes.clear()
        for _ in fused_windows(scene, expanded, 256, in_flight):
            pair.notes.append("out")
        orders.append(" ".join(pair.notes))
    count = orders[0].count("out")
    assert count == 6
    assert orders[0] == " ".join(["read out"] * count)
    assert orders[1] == " ".join(["read", *["read out"] * (count - 1), "out"])
