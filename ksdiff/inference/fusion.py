"""The two computations that repeat with the same shapes: a scene's prior, and fusing a window.

Once their filters are cached, neither reads from or waits for the CPU, so both can run from CUDA
graphs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ksdiff.config import ModelConfig
from ksdiff.images.bands import Alignment
from ksdiff.images.inputs import FusionInputs, SceneStatistics, fusion_inputs, to_dn
from ksdiff.images.mtf import MTFFilters
from ksdiff.images.polyphase import FilterBank
from ksdiff.images.sharpness import filtered
from ksdiff.images.wald import back_project
from ksdiff.models.ksdiff import Kernels, KSDiff


class FusionModel(Protocol):
    """The interface of a network for sharpening, `KSDiff` or another."""

    config: ModelConfig

    def estimate_kernels(
        self, inputs: FusionInputs, generator: torch.Generator | None = None
    ) -> Any:
        """What the network takes from a scene, from windows of it."""

    def fuse(self, inputs: FusionInputs, kernels: Any) -> Tensor:
        """[B, C, H, W] in the units of ``lms``."""

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def buffers(self) -> Iterator[Tensor]: ...


class SceneTensors(NamedTuple):
    """What all windows of a scene share, on the device."""

    kernels: object
    statistics: SceneStatistics
    filters: MTFFilters
    alignment: Alignment | None  # where the bands lie apart


@dataclass(frozen=True)
class PriorStep:
    """The kernels of a scene from its sample windows and noise [1, N, C_z]."""

    model: KSDiff
    weights: tuple[int, ...]  # see `addresses`

    def __call__(self, samples: FusionInputs, noise: Tensor) -> Kernels:
        return self.model.estimate_kernels(samples, noise=noise)


@dataclass(frozen=True)
class WindowStep:
    """Fused DN [C, H, W] from pan [1, 1, H, W] and ms [1, C, h, w], DN without holes."""

    model: FusionModel
    weights: tuple[int, ...]  # see `addresses`
    ratio: int
    phase: tuple[float, float]
    device: str  # type
    precision: str
    together: bool  # leave bands that were brought together so
    equaliser: FilterBank | None = None  # see `PreparedScene`

    def __call__(self, scene: SceneTensors, pan: Tensor, ms: Tensor) -> Tensor:
        pan = filtered(pan, self.equaliser)
        together = ms if scene.alignment is None else scene.alignment.together(ms)
        inputs = fusion_inputs(
            pan, together, scene.filters, self.ratio, self.phase, scene.statistics
        )
        # Every weight is cast once at most, and what is cast while capturing must not stay.
        with torch.autocast(
            self.device, torch.bfloat16, self.precision == "bfloat16", cache_enabled=False
        ):
            fused = self.model.fuse(inputs, scene.kernels)
        fused = to_dn(fused.float(), scene.statistics, overwrite=True)
        if self.together:
            ms = together
        elif scene.alignment is not None:
            fused = scene.alignment.apart(fused)
        return back_project(fused, ms, scene.filters, self.ratio, self.phase, overwrite=True)[0]


def addresses(model: FusionModel) -> tuple[int, ...]:
    """Where the weights lie: a step whose weights have moved is another, with graphs of its own."""
    return tuple(x.data_ptr() for part in (model.parameters(), model.buffers()) for x in part)
