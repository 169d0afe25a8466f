import threading
import time

import numpy as np
import pytest
import torch

from ksdiff import Sharpener
from ksdiff.images.pair import ArrayPair
from ksdiff.inference.transfer import ahead, download, held_back, side_by_side, upload
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


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def noted(count, drawn):
    """Items 0, 1, ..., each noted in ``drawn`` as it is asked for."""
    for item in range(count):
        drawn.append(item)
        yield item


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_items_come_in_order_and_as_late_as_asked(count):
    drawn = []
    seen = [(item, len(drawn)) for item in held_back(noted(5, drawn), count)]
    assert seen == [(item, min(item + 1 + count, 5)) for item in range(5)]


def test_on_a_cpu_nothing_is_copied():
    x = torch.rand(3, 4, 5)[:, 1:]
    assert upload(x, CPU) is x
    assert download(x)() is x


def test_one_window_in_flight_is_begun_before_the_last_one_is_waited_for(large, shaken):
    sharpener = Sharpener(shaken, device="cpu", tile=256)
    scene = sharpener.prepare(ArrayPair(*large))
    notes = []

    def fuse(pan, ms):
        notes.append("fuse")
        return ms[0].repeat_interleave(4, 1).repeat_interleave(4, 2)

    orders = []
    for in_flight in (0, 1):
        notes.clear()
        for _ in fused_windows(scene, fuse, 256, in_flight):
            notes.append("out")
        orders.append(" ".join(notes))
    count = orders[0].count("out")
    assert count == 6
    assert orders[0] == " ".join(["fuse out"] * count)
    assert orders[1] == " ".join(["fuse", *["fuse out"] * (count - 1), "out"])


def test_items_are_made_ahead_on_another_thread_and_in_order():
    made = []

    def make():
        for index in range(5):
            made.append((index, threading.get_ident()))
            yield index

    used = []
    for item in ahead(make()):
        used.append(item)
        while len(made) < min(item + 2, 5):  # would not end if nothing were made ahead
            time.sleep(0.001)
    assert used == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in {thread for _, thread in made}


def test_an_error_in_the_making_comes_where_the_item_would():
    def make():
        yield 1
        raise ZeroDivisionError

    items = ahead(make())
    assert next(items) == 1
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_work_side_by_side_keeps_its_order_and_the_threads_outside(two_threads):
    together = threading.Barrier(2, timeout=30)  # breaks unless two items are worked on at once
    inside = []

    def work(item):
        together.wait()
        inside.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))
        time.sleep(0.02 * (item % 2 == 0))  # the first of two is done later
        return item * torch.ones(1)

    assert [int(x) for x in side_by_side(work, iter(range(6)), 2)] == [0, 1, 2, 3, 4, 5]
    assert set(inside) == {(1, True)}
    assert torch.get_num_threads() == 2
    late = []
    thread = threading.Thread(target=lambda: late.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert late == [2]


def test_an_error_ends_the_work_side_by_side_where_its_result_would_come(two_threads):
    drawn = []
    results = side_by_side(lambda item: 1 / (item - 2), noted(100, drawn), 2)
    assert [next(results), next(results)] == [-0.5, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(drawn) < 10
    assert torch.get_num_threads() == 2


@torch.inference_mode()
def test_windows_side_by_side_make_the_same_image(large, shaken, two_threads):
    sharpener = Sharpener(shaken, device="cpu", tile=256)
    scene = sharpener.prepare(ArrayPair(*large))
    kernels = sharpener.kernels(scene)
    places, alone = {}, threading.get_ident()

    def fused(threads):
        fuse = sharpener.fuser(scene, kernels)
        used = places.setdefault(threads, set())

        def noted(pan, ms):
            used.add(threading.get_ident())
            return fuse(pan, ms)

        parts = fused_windows(scene, noted, 256, threads=threads)
        return [(part.top, part.left, part.fused, part.valid) for part in parts]

    for one, other in zip(fused(1), fused(3), strict=True):
        assert one[:2] == other[:2]
        torch.testing.assert_close(one[2:], other[2:], rtol=1e-5, atol=1e-2)
    assert places[1] == {alone} and alone not in places[3] and len(places[3]) > 1
