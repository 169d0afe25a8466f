"""CUDA graphs against plain calls; `benchmarks/gpu.sh` runs this where there is a GPU."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch

from ksdiff import Sharpener
from ksdiff.images import polyphase
from ksdiff.images.pair import ArrayPair
from ksdiff.inference import graphs
from ksdiff.inference.graphs import Graphs, Reads
from ksdiff.inference.transfer import download, upload
from ksdiff.models.ksdiff import KSDiff
from ksdiff.synthetic.scene import procedural_scene
from tests.support import ROOT
from tests.support.inference import scene_tensors, window_step
from tests.support.models import random_inputs, small_config

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device")
no_fallback = pytest.mark.filterwarnings("error:computing without CUDA graphs")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
# Of the mean: what two orders of the same sums may differ by.
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}


def test_on_a_cpu_functions_are_just_called():
    calls = []

    def function(scene, x):
        calls.append((scene, x))
        return x

    called, x = Graphs(CPU), torch.rand(3)
    assert all(called(function, "scene", x) is x for _ in range(3))
    assert calls == [("scene", x)] * 3


def test_what_is_read_is_held_and_what_is_computed_is_not():
    weight, x, out = torch.rand(4, 4), torch.rand(2, 4), torch.zeros(3)
    with Reads() as reads:
        middle = x @ weight.T
        torch.cat((middle.relu(), middle), out=out.resize_(4, 4))
    assert {t.data_ptr() for t in reads.tensors} == {t.data_ptr() for t in (weight, x, out)}


def test_the_cached_filters_and_the_weights_of_a_window_are_held(monkeypatch):
    cached = []
    for name in ("_block", "_source_index"):
        cache = getattr(polyphase, name)
        monkeypatch.setattr(polyphase, name, lambda *a, c=cache: cached.append(c(*a)) or cached[-1])
    model = KSDiff(small_config()).eval()
    scene = scene_tensors(CPU, model.estimate_kernels(random_inputs(1, 4, 64, 64)))
    step, images = window_step(model), (torch.rand(1, 1, 64, 64), torch.rand(1, 4, 16, 16))
    with torch.no_grad():
        step(scene, *images)
        cached.clear()
        with Reads() as reads:
            step(scene, *images)
    held = {t.untyped_storage().data_ptr() for t in reads.tensors}
    needed = [*scene.kernels.layers, model.network.head.weight, *filter(torch.is_tensor, cached)]
    assert len(needed) > len(scene.kernels.layers) + 8
    assert held.issuperset(t.untyped_storage().data_ptr() for t in needed)


def times(scene, x):
    factor, (shift, _) = scene
    return [(x * factor + shift).relu(), x.sum(0)]


def draws(*shape):
    return torch.randn(shape, device=CUDA)


@on_gpu
@no_fallback
@torch.inference_mode()
def test_every_call_computes_with_its_own_tensors_and_keeps_its_result():
    graphed = Graphs(CUDA)
    scenes = [(draws(5), (draws(1), None)) for _ in range(2)]
    calls = [(scene, draws(n, 5)) for _ in range(4) for scene in scenes for n in (3, 1000)]
    results = [graphed(times, *call) for call in calls]
    for call, result in zip(calls, results, strict=True):
        for one, other in zip(result, times(*call), strict=True):
            torch.testing.assert_close(one, other)
    assert all(graphed._graphs.values()) and len(graphed._graphs) == 2


@on_gpu
@no_fallback
@torch.inference_mode()
def test_what_is_used_least_recently_is_given_up(monkeypatch):
    monkeypatch.setattr(graphs, "_MOST", 3)
    kept, scene = Graphs(CUDA), (draws(5), (draws(1), None))
    for _ in range(3):
        for n in (1, 2, 3, 4, 4, 4):
            x = draws(n, 5)
            torch.testing.assert_close(kept(times, scene, x)[0], times(scene, x)[0])
    assert len(kept._graphs) == 3


@on_gpu
def test_windows_travel_to_the_gpu_and_back():
    x = torch.rand(3, 40, 50)
    there = upload(x[:, 5:, 7:], CUDA)
    back = download(there[:, 1:, ::2])()
    assert there.is_cuda and back.is_pinned()
    assert torch.equal(back, x[:, 6:, 7::2])


@pytest.fixture(scope="module")
def scenes():
    """Two scenes with windows of different sizes at tile 256; holes in one, and a blank corner."""
    pairs = []
    for seed, height, width in ((2, 704, 640), (3, 600, 512)):
        pan, ms, _ = procedural_scene(seed, 704, 4)
        pan, ms = pan[:, :height, :width], ms[:, : height // 4, : width // 4]
        pairs.append((pan.astype("float32"), ms.astype("float32")))
    ms = pairs[1][1]
    ms[2, 20:34, 30:50] = np.nan
    ms[:, 60:, 60:] = np.nan
    return pairs


def sharpeners(model, precision="float32") -> tuple[Sharpener, Sharpener]:
    """One with graphs and one without."""
    options = {"device": "cuda", "tile": 256, "precision": precision}
    one, other = (Sharpener(copy.deepcopy(model), **options) for _ in range(2))
    other._graphs = Graphs(CPU)
    return one, other


def assert_close(one, other, tolerance: float):
    assert np.array_equal(np.isnan(one), np.isnan(other))
    assert np.nanmax(np.abs(one - other)) <= tolerance * np.nanmean(other)


@on_gpu
@no_fallback
@pytest.mark.parametrize("precision", TOLERANCE)
def test_scenes_in_turn_are_what_they_are_without_graphs(scenes, shaken, precision):
    graphed, plain = sharpeners(shaken, precision)
    for scene in (*scenes, *scenes, *scenes):
        assert_close(graphed.sharpen(*scene), plain.sharpen(*scene), TOLERANCE[precision])
    assert sum(graph is not None for graph in graphed._graphs._graphs.values()) > 4


@on_gpu
def test_a_gpu_gives_what_a_cpu_gives(scenes, shaken):
    on_cpu = Sharpener(shaken, device="cpu", tile=256).sharpen(*scenes[1])
    on_gpu, _ = sharpeners(shaken)
    assert_close(on_gpu.sharpen(*scenes[1]), on_cpu, 2e-2)


@on_gpu
@no_fallback
def test_windows_of_two_scenes_may_alternate(scenes, shaken):
    graphed, plain = sharpeners(shaken)
    for sharpener in (graphed, plain):
        for scene in scenes:
            sharpener.sharpen(*scene)
    pan, ms = scenes[0]
    pairs = ArrayPair(pan, ms), ArrayPair(pan[:, ::-1].copy(), ms[:, ::-1].copy())
    in_turn = zip(*(graphed.windows(graphed.prepare(pair)) for pair in pairs), strict=True)
    alone = zip(*(list(plain.windows(plain.prepare(pair))) for pair in pairs), strict=True)
    for one, other in zip(in_turn, alone, strict=True):
        for part, expected in zip(one, other, strict=True):
            assert_close(part.fused.numpy(), expected.fused.numpy(), TOLERANCE["float32"])


@on_gpu
@no_fallback
def test_graphs_outlive_the_caches_of_filters(scenes, shaken):
    sharpener, _ = sharpeners(shaken)
    for _ in range(3):
        expected = sharpener.sharpen(*scenes[0])
    polyphase._source_index.cache_clear()
    polyphase._block.cache_clear()
    torch.cuda.synchronize()
    wiped = [torch.full((size,), 10**6, device=CUDA) for size in (64, 512, 4096) for _ in range(99)]
    assert_close(sharpener.sharpen(*scenes[0]), expected, TOLERANCE["float32"])
    del wiped


@on_gpu
@no_fallback
def test_weights_that_move_are_followed(scenes, shaken):
    graphed, plain = sharpeners(shaken)
    for _ in range(3):
        graphed.sharpen(*scenes[0])
    for sharpener in (graphed, plain):
        for parameter in next(iter(sharpener._models.values())).parameters():
            parameter.data = 1.01 * parameter.data
    assert_close(graphed.sharpen(*scenes[0]), plain.sharpen(*scenes[0]), TOLERANCE["float32"])


# In a process of its own: a failed capture leaves the GPU's random numbers unusable.
REFUSED = """
import warnings
import torch
from ksdiff.inference.graphs import Graphs

def asks(scene, x):
    return x * scene.max().item()

graphs, before = Graphs(torch.device("cuda")), torch.cuda.current_stream()
scene, x = torch.rand(2, 5, device="cuda")
with warnings.catch_warnings(record=True) as said, torch.inference_mode():
    warnings.simplefilter("always")
    for _ in range(4):
        torch.testing.assert_close(graphs(asks, scene, x), x * scene.max())
assert ["computing without CUDA graphs" in str(w.message) for w in said] == [True], said
assert torch.cuda.current_stream() == before
"""


@on_gpu
def test_what_cannot_be_captured_is_computed_all_the_same_and_said_once():
    command = [sys.executable, "-c", REFUSED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
