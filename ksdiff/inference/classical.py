"""Classical methods on scenes of any size: measured once, fused window by window."""

from __future__ import annotations

import torch
from torch import Tensor

from ksdiff.baselines import METHODS, ClassicalPair
from ksdiff.inference.scene import PreparedScene
from ksdiff.inference.windows import Fuse


def classical(scene: PreparedScene, name: str, together: bool) -> Fuse:
    """A function that fuses windows of a scene by a classical method.

    Statistics of a whole image are measured on the scene's samples, which cover all of a small
    scene, so windows meet without seams. PAN is registered, and the MTF is the measured one.

    Args:
        name: of `ksdiff.baselines.METHODS`.
        together: leave bands that were registered to each other in that position.
    """
    method, alignment = METHODS[name], scene.alignment
    measured: dict[str, Tensor] = {}

    def pair(pan: Tensor, ms: Tensor) -> ClassicalPair:
        grid = scene.pair.ratio, scene.pair.phase
        return ClassicalPair.of(
            pan, ms, scene.gains, *grid, "reflect", scene.sensor.pan_gain, measured=measured
        )

    def fuse(pan: Tensor, ms: Tensor) -> Tensor:
        if alignment is not None:
            ms = alignment.together(ms)
        fused = method(pair(pan, ms))
        return (fused if alignment is None or together else alignment.apart(fused))[0]

    method(pair(*map(torch.cat, zip(*scene.samples, strict=True))))
    return fuse
