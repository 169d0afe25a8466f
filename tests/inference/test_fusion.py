"""What a GPU runs from graphs, on tensors without data: whatever asked for a value would fail."""

import dataclasses

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ksdiff.config import DiffusionConfig, InjectionConfig
from ksdiff.images.fill import fill_invalid
from ksdiff.inference.fusion import PriorStep, addresses
from ksdiff.models.ksdiff import KSDiff
from tests.support.inference import scene_tensors, window_step
from tests.support.models import CHOICES, random_inputs, small_config

META = torch.device("meta")
CONFIGS = {
    "default": {},
    "four steps": {"diffusion": DiffusionConfig(sampling_steps=4, width=32, depth=1)},
    "full": {"injection": InjectionConfig(mode="full", kernel_size=3)},
    "off": {"injection": InjectionConfig(mode="off")},
    **CHOICES,
}


class OnTheDeviceAlone(TorchFunctionMode):
    """Fails where anything is taken from the CPU: a tensor, or a list that becomes one."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        for x in tree_leaves((args, kwargs, result)):
            assert not isinstance(x, torch.Tensor) or x.device == META, f"{func} on {x.device}"
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert not any(isinstance(place, list) for place in places), f"a list in {func}"
        assert func not in (torch.tensor, torch.as_tensor), f"{func} from Python"
        return result


@torch.inference_mode()
@pytest.mark.parametrize("choice", CONFIGS)
def test_prior_and_windows_need_nothing_from_the_cpu(choice):
    model = KSDiff(small_config(**CONFIGS[choice])).eval().to(META)
    samples = random_inputs(3, 4, 64, 64).map(lambda x: x.to(META))
    noise = model.draw_noise().to(META)
    pan, ms = torch.rand(1, 1, 72, 64, device=META), torch.rand(1, 4, 18, 16, device=META)
    prior, window = PriorStep(model, addresses(model)), window_step(model)
    scene = scene_tensors(META, prior(samples, noise))
    window(scene, pan, ms)  # caches its filters
    with OnTheDeviceAlone():
        kernels = prior(samples, noise)
        assert window(scene._replace(kernels=kernels), pan, ms).shape == (4, 72, 64)


def test_holes_are_filled_without_asking_a_gpu():
    values, valid = torch.rand(1, 4, 32, 32, device=META), torch.ones(1, 4, 32, 32, device=META) > 0
    with OnTheDeviceAlone():
        fill_invalid(values, valid, torch.rand(1, 4, 1, 1, device=META), 8)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x.mean().item(),
        lambda x: x if x.all() else -x,
        lambda x: x[:, [0, 2]],
        lambda x: x + torch.tensor([1.0, 2.0, 3.0, 4.0], device=META),
        lambda x: x.index_select(0, torch.zeros(2, dtype=torch.long)),
        lambda x: torch.rand(3, 4).to(META),
    ],
)
def test_what_needs_the_cpu_would_be_found(function):
    x = torch.rand(3, 4, device=META)
    with pytest.raises((RuntimeError, AssertionError)), OnTheDeviceAlone():
        function(x)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_window_is_the_same_out_of_inference_mode(precision):
    """In which scenes are prepared, and in which nothing is captured."""
    torch.manual_seed(0)
    model = KSDiff(small_config()).eval()
    step, images = (
        window_step(model, precision),
        (torch.rand(1, 1, 64, 64), torch.rand(1, 4, 16, 16)),
    )
    with torch.inference_mode():
        scene = scene_tensors(
            torch.device("cpu"), model.estimate_kernels(random_inputs(2, 4, 64, 64))
        )
        expected = step(scene, *images)
        with torch.inference_mode(False), torch.no_grad():
            again = step(scene, *images)
    assert torch.equal(again, expected)


def test_steps_are_equal_until_their_weights_move():
    model = KSDiff(small_config())
    step = window_step(model)
    assert window_step(model) == step and hash(window_step(model)) == hash(step)
    assert dataclasses.replace(step, ratio=2) != step
    model.network.head.weight.data = model.network.head.weight.data.clone()
    assert window_step(model) != step
