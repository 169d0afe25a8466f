"""Times the steps of sharpening one tile, beside the least time that this machine needs."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import ksdiff_ops  # noqa: F401  its operators are counted, and must be registered for that
from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import FusionInputs, SceneStatistics, fusion_inputs, to_dn
from ksdiff.images.pair import Patch
from ksdiff.images.wald import back_project
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.geotiff import quantise, write_raster, write_scene
from ksdiff.io.rasters import open_pair
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights, weights_for
from ksdiff.sensors import sensor_for
from ksdiff.synthetic.scene import procedural_scene

_COPY_BYTES = 2**27  # beyond every cache
Shape = Sequence[int]

_MATRIX = 1024
_SIDES = (64, 4096)  # PAN pixels


@dataclass(frozen=True)
class Part:
    name: str
    seconds: float  # median
    flops: int  # a multiply-add counts as two; elementwise ones are left out
    least_bytes: int  # its inputs, its parameters and its result, each moved once

    def floor(self, machine: Machine) -> float:
        """Least seconds on this machine: of arithmetic or of memory traffic, the larger one."""
        return max(
            self.flops / machine.flops_per_second, self.least_bytes / machine.bytes_per_second
        )


@dataclass(frozen=True)
class Machine:
    """Rates measured here: of one large float32 product, and of a copy (read plus written)."""

    flops_per_second: float
    bytes_per_second: float


def measure_machine(device: torch.device) -> Machine:
    a, b = torch.rand(2, _MATRIX, _MATRIX, device=device)
    source = torch.zeros(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    product = min(_times(lambda: a @ b, 5, device))
    copy = min(_times(lambda: target.copy_(source), 5, device))
    return Machine(2 * _MATRIX**3 / product, 2 * _COPY_BYTES / copy)


def count_flops(call: Callable[[], object]) -> int:
    """Operations of ``call``, KSDiff's own operators among them."""
    counted = {
        torch.ops.ksdiff_ops.lowrank_dynamic_conv: _lowrank_flops,
        torch.ops.ksdiff_ops.dynamic_conv: _dynamic_flops,
        torch.ops.ksdiff_ops.adaptive_conv2d: _adaptive_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        call()
    return counter.get_total_flops()


@torch.no_grad()
def profile(
    weights: str | Path | None = None,
    *,
    bands: int = 8,
    size: int = 256,
    device: str = "auto",
    rounds: int = 9,
    seed: int = 0,
) -> tuple[list[Part], Machine]:
    """Time every part of sharpening one drawn scene of ``size`` x ``size`` PAN pixels, ratio 4.

    Raises:
        KSDiffError: a size that no window of the network has, no weights for that band count.
    """
    if not _SIDES[0] <= size <= _SIDES[1] or size % _SIDES[0]:
        raise KSDiffError(f"size: expected a multiple of 64 from 64 to 4096, got {size}")
    model, config = load_weights(weights or weights_for(bands, 4))
    if config.model.bands == "any" or config.model.ratio == "any":
        raise KSDiffError("profile: measures networks for a fixed count of bands, not for any")
    bands, ratio = config.model.bands, config.model.ratio
    place = Sharpener(model, device=device).device
    pan, ms, _ = procedural_scene(seed=seed, size=size, bands=bands, ratio=ratio)
    with tempfile.TemporaryDirectory() as folder:
        write_scene(folder, "tile", pan, ms)
        calls = _calls(model.requires_grad_(False), Path(folder), bands, ratio, place)
        parts = []
        for name, (call, moved) in calls.items():
            call()
            seconds = statistics.median(_times(call, rounds, place))
            parts.append(Part(name, seconds, count_flops(call), moved))
    return parts, measure_machine(place)


def _calls(
    model: KSDiff, folder: Path, bands: int, ratio: int, device: torch.device
) -> dict[str, tuple[Callable[[], object], int]]:
    """For each part a call on tensors that are ready, and the bytes it must move."""
    gains = sensor_for(None, bands, ratio).ms_gains
    paths = (folder / "tile_pan.tif", folder / "tile_ms.tif")

    def read() -> tuple[Patch, tuple[float, float], str]:
        with open_pair(*paths) as pair:
            return pair.read(), pair.phase, pair.dtype

    patch, phase, dtype = read()
    pan, ms = patch.pan.to(device), patch.ms.to(device)
    found = SceneStatistics.of(patch.pan[0], patch.ms[0])
    found = SceneStatistics(*(part.to(device) for part in found))

    def prepare() -> FusionInputs:
        return fusion_inputs(pan, ms, gains, ratio, phase, found)

    inputs = prepare()
    steps = network_calls(model, inputs)
    fused = steps["network"][0]()
    in_dn = to_dn(fused, found)

    def project() -> Tensor:
        return back_project(to_dn(fused, found), ms, gains, ratio, phase)

    host = in_dn[0].float().cpu()
    valid = torch.ones(host.shape, dtype=torch.bool)

    def write() -> None:
        values = quantise(host.numpy(), valid.numpy(), dtype, None)
        write_raster(folder / "out.tif", values)

    files = sum(path.stat().st_size for path in paths)
    return {
        "read": (read, files + _bytes(pan, ms)),
        "prepare inputs": (prepare, _bytes(pan, ms, *inputs)),
        **steps,
        "back projection": (project, _bytes(fused, ms, in_dn)),
        "write": (write, _bytes(host) + fused.numel() * 2),
    }


def network_calls(model: KSDiff, inputs: FusionInputs) -> dict[str, tuple[Callable[[], Any], int]]:
    """The stages of the model's path, each on tensors that are ready, and their least bytes."""
    condition, tokens = model.observed(inputs)
    noise = model.draw_noise(torch.Generator().manual_seed(0)).to(condition)
    z = model.sample_prior(condition, noise)
    kernels = model.kernels(z, tokens)
    own = (*inputs, *kernels.layers)
    return {
        "condition encoder": (
            lambda: model.condition(inputs),
            _bytes(*inputs, condition, *model.condition_encoder.parameters()),
        ),
        "latent steps": (
            lambda: model.sample_prior(condition, noise),
            _bytes(condition, noise, z, *model.denoiser.parameters()),
        ),
        "kernel generation": (
            lambda: model.kernels(z, model.local_tokens(inputs)),
            _bytes(*own, *model.generator.parameters()),
        ),
        "network": (
            lambda: model.fuse(inputs, kernels),
            _bytes(*own, *model.network.parameters(), inputs.lms),  # the result is as large
        ),
    }


def _bytes(*tensors: Tensor | None) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


def _times(call: Callable[[], object], rounds: int, device: torch.device) -> list[float]:
    times = []
    for _ in range(rounds):
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        times.append(time.perf_counter() - start)
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _lowrank_flops(
    x: Shape, coeff: Shape, basis: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    """Each pixel's kernel is mixed from the basis, then applied to the group's channels."""
    batch, channels, height, width = x
    groups, rank = coeff[1:3]
    taps = basis[-1] * basis[-2]
    return 2 * batch * height * width * taps * (groups * rank + channels)


def _dynamic_flops(
    x: Shape, weight: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    batch, _groups, rows, columns, height, width = weight
    return 2 * batch * x[1] * height * width * rows * columns


def _adaptive_flops(
    x: Shape,
    attention: Shape,
    weight: Shape,
    *_: object,
    out_shape: object = None,
    **__: object,
) -> int:
    """Every tap of every pixel is weighed once, then an ordinary convolution."""
    batch, channels, height, width = x
    taps = weight[-1] * weight[-2]
    return batch * height * width * taps * channels * (2 * weight[0] + 1)
