"""Scenes that several processes share: what makes a `Sharpener` in each, and what they pass on."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ksdiff.errors import KSDiffError
from ksdiff.images.pair import Pair, Patch
from ksdiff.images.placement import RegisteredPair
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.scene import PreparedScene
from ksdiff.inference.sharpen import Sharpener
from ksdiff.inference.survey import Survey
from ksdiff.inference.windows import Fuse
from ksdiff.models.weights import bundled, weights_hash

# A process loads weights once and fuses one window at a time, with all threads of PyTorch.
FUSING = threading.Lock()
_SCENES = 4  # whose fusing functions a process remembers


@dataclass(frozen=True)
class Recipe:
    """What makes a `Sharpener` in whichever process."""

    weights: str | Path | None
    digest: str | None  # of the weights, where they are named: a file can change
    options: SharpenOptions

    @classmethod
    def of(cls, weights: str | Path | None, options: SharpenOptions) -> Recipe:
        """Make a recipe; a weights file gets its absolute path.

        Raises:
            KSDiffError: no such weights.
        """
        if weights is None:
            return cls(None, None, options)
        digest = weights_hash(weights)
        return cls(weights if weights in bundled() else Path(weights).absolute(), digest, options)


@functools.lru_cache(maxsize=2)
def sharpener_of(recipe: Recipe) -> Sharpener:
    """Made once in a process.

    Raises:
        KSDiffError: the weights are not here, or not the same as where the recipe was made.
    """
    if recipe.weights is not None and weights_hash(recipe.weights) != recipe.digest:
        raise KSDiffError(
            f"weights {recipe.weights}: not the same file for this process as for the one that "
            "asks; every worker must see the same files under the same names"
        )
    return Sharpener(recipe.weights, recipe.options)


@dataclass
class _Elsewhere:
    """A pair whose pixels another process reads."""

    shape: tuple[int, int]
    bands: int
    ratio: int
    phase: tuple[float, float]

    def read(
        self, top: int = 0, left: int = 0, height: int | None = None, width: int | None = None
    ) -> Patch:
        raise RuntimeError("a prepared scene has no pixels; `Prepared.on` gives it some")


class Prepared:
    """A prepared scene without its pixels, and its kernels: what fuses any window of it.

    Args:
        token: equal for equal scenes.
    """

    def __init__(self, scene: PreparedScene, kernels: object, token: str):
        pair = scene.pair
        elsewhere = _Elsewhere(pair.shape, pair.bands, pair.ratio, pair.phase)
        self.scene, self.kernels, self.token = replace(scene, pair=elsewhere), kernels, token

    @classmethod
    def of(
        cls, recipe: Recipe, pair: Pair, sensor: str | None, known: Survey, token: str
    ) -> Prepared:
        """Reads a few windows, which the survey chooses."""
        with FUSING:
            sharpener = sharpener_of(recipe)
        scene = sharpener.prepare(pair, sensor, surveyed=known)
        with FUSING, torch.inference_mode():
            return cls(scene, sharpener.kernels(scene), token)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prepared) and other.token == self.token

    def __hash__(self) -> int:
        return hash(self.token)

    def on(self, pair: Pair) -> PreparedScene:
        """The scene with pixels as they were delivered."""
        off = self.scene.registration.move
        return replace(self.scene, pair=pair if off is None else RegisteredPair(pair, off))


@functools.lru_cache(maxsize=_SCENES)
def fuser_of(recipe: Recipe, prepared: Prepared) -> Fuse:
    """What fuses windows of a scene. Call it, and what it returns, under `FUSING`."""
    return sharpener_of(recipe).fuser(prepared.scene, prepared.kernels)
