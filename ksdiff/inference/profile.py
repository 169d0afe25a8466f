"""Times the steps of sharpening one tile, beside the least time that this machine needs."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import ksdiff_ops  # noqa: F401  registers its operators with their formulas
from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import FusionInputs, to_dn
from ksdiff.images.pair import ArrayPair, Patch
from ksdiff.images.wald import back_project
from ksdiff.inference.scene import PreparedScene
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.geotiff import quantise, write_raster, write_scene
from ksdiff.io.rasters import open_pair
from ksdiff.models.ksdiff import KSDiff, takes_any_bands
from ksdiff.models.weights import load_weights, weights_for
from ksdiff.runtime import Machine, measure_machine, times_of
from ksdiff.sensors import sensor_for
from ksdiff.synthetic.scene import procedural_scene

_SIDES = (64, 4096)  # PAN pixels
_RATIO = 4  # of the drawn scene, where the weights do not fix it


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


def count_flops(call: Callable[[], object]) -> int:
    """Operations of ``call``, KSDiff's own operators among them."""
    with FlopCounterMode(display=False) as counter:
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
    model, config = load_weights(weights or weights_for(bands, _RATIO))
    if config.model.bands != "any":
        bands = config.model.bands
    ratio = _RATIO if config.model.ratio == "any" else config.model.ratio
    place = Sharpener(model, device=device).device
    pan, ms, _ = procedural_scene(seed=seed, size=size, bands=bands, ratio=ratio)
    with tempfile.TemporaryDirectory() as folder:
        write_scene(folder, "tile", pan, ms)
        calls = _calls(model.requires_grad_(False), Path(folder), bands, ratio, place)
        parts = []
        for name, (call, moved) in calls.items():
            call()
            seconds = statistics.median(times_of(call, rounds, place))
            parts.append(Part(name, seconds, count_flops(call), moved))
    return parts, measure_machine(place)


def _calls(
    model: KSDiff, folder: Path, bands: int, ratio: int, device: torch.device
) -> dict[str, tuple[Callable[[], object], int]]:
    """For each part a call on tensors that are ready, and the bytes it must move."""
    paths = (folder / "tile_pan.tif", folder / "tile_ms.tif")

    def read() -> tuple[Patch, ArrayPair, str]:
        with open_pair(*paths) as pair:
            return pair.read(), ArrayPair.of(pair), pair.dtype

    patch, pair, dtype = read()
    scene = PreparedScene.of(
        pair,
        sensor_for(None, bands, ratio),
        device,
        registration="off",
        any_bands=takes_any_bands(model),
    )
    _, ms = scene.images(patch)

    def prepare() -> FusionInputs:
        return scene.network_inputs(patch)

    inputs = prepare()
    steps = network_calls(model, inputs)
    fused = steps["network"][0]()
    in_dn = to_dn(fused, scene.statistics)

    def project() -> Tensor:
        in_dn = to_dn(fused, scene.statistics)
        return back_project(in_dn, ms, scene.filters, ratio, pair.phase)

    host = in_dn[0].float().cpu()
    valid = torch.ones(host.shape, dtype=torch.bool)

    def write() -> None:
        values = quantise(host.numpy(), valid.numpy(), dtype, None)
        write_raster(folder / "out.tif", values)

    files = sum(path.stat().st_size for path in paths)
    return {
        "read": (read, files + _bytes(patch.pan, patch.ms)),
        "prepare inputs": (prepare, _bytes(patch.pan, patch.ms, *inputs)),
        **steps,
        "back projection": (project, _bytes(fused, ms, in_dn)),
        "write": (write, _bytes(host) + fused.numel() * 2),
    }


def network_calls(model: KSDiff, inputs: FusionInputs) -> dict[str, tuple[Callable[[], Any], int]]:
    """The stages of the model's path, each on tensors that are ready, and their least bytes."""
    condition, tokens = model.observed(inputs)
    noise = model.draw_noise(torch.Generator().manual_seed(0)).to(condition)
    z = model.sample_prior(condition, noise)
    kernels = model.kernels(z, tokens, inputs)
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
            lambda: model.kernels(z, model.local_tokens(inputs), inputs),
            _bytes(*own, *model.generator.parameters()),
        ),
        "network": (
            lambda: model.fuse(inputs, kernels),
            _bytes(*own, *model.network.parameters(), inputs.lms),  # the result is as large
        ),
    }


def _bytes(*tensors: Tensor | None) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)
