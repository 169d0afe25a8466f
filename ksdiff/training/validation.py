"""Scores and a picture of the validation scenes while training runs."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ksdiff.config import Config
from ksdiff.images.inputs import FusionInputs, scene_inputs
from ksdiff.io.pancollection import PanCollection
from ksdiff.io.rasters import open_pair
from ksdiff.io.scenes import list_scenes
from ksdiff.metrics import ergas, sam
from ksdiff.models.ksdiff import KSDiff
from ksdiff.sensors import sensor_for
from ksdiff.training.pairs import CollectionPairs
from ksdiff.training.samples import data_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BORDER = (..., slice(20, -21), slice(20, -21))
_MOST_PATCHES = 32  # of a PanCollection validation file
_SEED = 0


class Scene(NamedTuple):
    name: str
    inputs: FusionInputs
    gt: Tensor  # [1, C, H, W] in the units of lms
    scale: Tensor  # [1, C, 1, 1] from these units to DN

    def to(self, device: torch.device, dtype: torch.dtype) -> "Scene":
        inputs = FusionInputs(*(tensor.to(device, dtype) for tensor in self.inputs))
        return Scene(self.name, inputs, self.gt.to(device, dtype), self.scale.to(device, dtype))


class Scores(NamedTuple):
    sam: float  # degrees
    ergas: float


def validation_scenes(config: Config) -> list[Scene]:
    """The scenes with truth, of the model's bands and ratio; none is no error."""
    data, model = config.data, config.model
    if data.valid_h5:
        source = CollectionPairs(PanCollection(data_path(data.valid_h5), data.sensor))
        pairs = (source[index] for index in range(min(len(source), _MOST_PATCHES)))
        return [_scene(p.name, p.pans, p.ms, p.gt, p.gains, p.ratio, p.phase) for p in pairs]
    folder = data_path(data.validation)
    if not data.validation or not folder.is_dir():
        return []
    scenes = []
    for files in list_scenes(folder):
        with open_pair(files.pan, files.ms) as pair:
            if files.gt and (pair.bands, pair.ratio) == (model.bands, model.ratio):
                patch, gt = pair.read(), pair.read_truth(files.gt)
                gains = sensor_for(files.sensor, pair.bands, pair.ratio).ms_gains
                scene = _scene(files.name, patch.pan, patch.ms, gt, gains, pair.ratio, pair.phase)
                scenes.append(scene)
    return scenes


def _scene(name, pan, ms, gt, gains, ratio, phase) -> Scene:
    inputs, statistics = scene_inputs(pan, ms, gains, ratio, phase)
    scale = statistics.ms_mean[..., None, None]
    return Scene(name, inputs, gt / scale, scale)


@torch.no_grad()
def validate(model: KSDiff, scenes: list[Scene], stage: int) -> dict[str, Scores]:
    """SAM and ERGAS of every scene; in stage 1 the prior still comes from the truth."""
    return {
        scene.name: scores(fuse(model, scene, stage), scene, model.config.ratio) for scene in scenes
    }


def scores(fused: Tensor, scene: Scene, ratio: int) -> Scores:
    fused, gt = ((scene.scale * image)[_BORDER] for image in (fused, scene.gt))
    return Scores(sam(fused, gt).item(), ergas(fused, gt, ratio).item())


def fuse(model: KSDiff, scene: Scene, stage: int) -> Tensor:
    if stage == 1:
        return model(scene.inputs, model.target_prior(scene.inputs, scene.gt))
    kernels = model.estimate_kernels(scene.inputs, torch.Generator().manual_seed(_SEED))
    return model.fuse(scene.inputs, kernels)


@torch.no_grad()
def picture(model: KSDiff, scenes: list[Scene], stage: int) -> "Figure":
    """One row per scene: lms, fused, truth (one stretch), and the absolute error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.2 * len(scenes)), layout="constrained")
    rows = figure.subplots(len(scenes), 4, squeeze=False)
    for axes, scene in zip(rows, scenes, strict=True):
        fused = fuse(model, scene, stage)
        low, high = (float(np.percentile(_rgb(scene.gt), q)) for q in (1, 99))
        views = {"lms": scene.inputs.lms, "fused": fused, "truth": scene.gt}
        for axis, (title, image) in zip(axes, views.items(), strict=False):
            axis.imshow(((_rgb(image) - low) / (high - low)).clip(0, 1))
            axis.set_title(f"{scene.name}: {title}", fontsize=9)
        error = (fused - scene.gt).abs().mean(1)[0].cpu().numpy()
        axes[3].imshow(error, cmap="magma", vmin=0, vmax=0.2)
        axes[3].set_title("mean absolute error, 0 to 0.2 of the band mean", fontsize=9)
        for axis in axes:
            axis.set_axis_off()
    return figure


def _rgb(image: Tensor) -> np.ndarray:
    bands = image[0].cpu().numpy()
    red, green, blue = (4, 2, 1) if len(bands) >= 8 else (2, 1, 0)
    return np.stack([bands[min(b, len(bands) - 1)] for b in (red, green, blue)], -1)
