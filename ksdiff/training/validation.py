"""Scores and a picture of the validation scenes while training runs."""

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ksdiff.config import Config, ModelConfig
from ksdiff.images.inputs import FusionInputs
from ksdiff.images.pair import ArrayPair
from ksdiff.images.sharpness import PanGain
from ksdiff.inference.scene import PreparedScene
from ksdiff.inference.sensor import pan_gain_of, sensor_of
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.pancollection import PanCollection
from ksdiff.io.rasters import open_pair
from ksdiff.io.scenes import list_scenes
from ksdiff.metrics import ergas, sam
from ksdiff.models.ksdiff import KSDiff
from ksdiff.sensors import Sensor
from ksdiff.training.held_out import Case, cases
from ksdiff.training.pairs import CollectionPairs
from ksdiff.training.samples import data_path, source_folders

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BORDER = (..., slice(20, -21), slice(20, -21))
_MOST_ROWS = 8  # of the picture
_MOST_PATCHES = 32  # of a PanCollection validation file


@dataclass(frozen=True)
class Scene:
    """A scene with truth, prepared as inference prepares it."""

    name: str
    prepared: PreparedScene
    truth: Tensor  # [1, C, H, W] DN

    @cached_property
    def inputs(self) -> FusionInputs:
        """The whole scene as the network sees it."""
        return self.prepared.network_inputs(self.prepared.pair.read())

    @property
    def scale(self) -> Tensor:
        """[1, C, 1, 1] from units of ``lms`` to DN."""
        return self.prepared.statistics.ms_mean[..., None, None]

    @property
    def gt(self) -> Tensor:
        """The truth in units of ``lms``."""
        return self.truth / self.scale


class Scores(NamedTuple):
    sam: float  # degrees
    ergas: float


def validation_scenes(config: Config, device: torch.device | None = None) -> list[Scene]:
    """The scenes with truth, of the model's bands and ratio; none is no error."""
    data, model = config.data, config.model
    if model.bands == "any" and not data.validation:
        return [case_scene(case, device) for case in cases(*source_folders(data))]
    if data.valid_h5:
        source = CollectionPairs(PanCollection(data_path(data.valid_h5), data.sensor))
        scenes = []
        for index in range(min(len(source), _MOST_PATCHES)):
            patch = source[index]
            assert patch.ms is not None
            images = ArrayPair(patch.pans[0], patch.ms[0], patch.phase)
            scenes.append(_scene(patch.name, images, source.sensor, patch.gt, device))
        return scenes
    folder = data_path(data.validation)
    return folder_scenes(folder, model, device) if data.validation and folder.is_dir() else []


def folder_scenes(
    folder: Path, model: ModelConfig, device: torch.device | None = None
) -> list[Scene]:
    """Those with truth of a folder (see `list_scenes`) whose bands and ratio the model takes.

    Raises:
        KSDiffError: see `list_scenes`.
    """
    any_bands, scenes = model.bands == "any", []
    for files in list_scenes(folder):
        with open_pair(files.pan, files.ms) as pair:
            if files.gt and (any_bands or (pair.bands, pair.ratio) == (model.bands, model.ratio)):
                sensor = sensor_of(files.sensor, pair)
                truth = pair.read_truth(files.gt)
                told = pan_gain_of("auto", sensor)
                whole = ArrayPair.of(pair)
                scenes.append(_scene(files.name, whole, sensor, truth, device, told, any_bands))
    return scenes


def _scene(
    name: str,
    pair: ArrayPair,
    sensor: Sensor,
    truth: Tensor,
    device: torch.device | None,
    pan_gain: PanGain | None = None,
    any_bands: bool = False,
) -> Scene:
    prepared = PreparedScene.of(pair, sensor, device, pan_gain=pan_gain, any_bands=any_bands)
    return Scene(name, prepared, truth.to(prepared.device))


def case_scene(case: Case, device: torch.device | None = None) -> Scene:
    """For a network that takes any bands."""
    pair = ArrayPair(case.pan[0], case.ms[0], case.phase)
    return _scene(case.name, pair, case.sensor, case.gt, device, case.pan_gain, any_bands=True)


def validate(model: KSDiff, scenes: list[Scene], stage: int) -> dict[str, Scores]:
    """SAM and ERGAS of every scene, fused as `Sharpener` fuses it.

    In stage 1 the prior still comes from the truth.
    """
    fused = fuse_all(model, scenes, stage)
    return {scene.name: scores(fused[scene.name], scene) for scene in scenes}


def scores(fused: Tensor, scene: Scene) -> Scores:
    """Of a fused image [1, C, H, W] in DN."""
    fused, truth = (image[_BORDER] for image in (fused, scene.truth.cpu()))
    return Scores(sam(fused, truth).item(), ergas(fused, truth, scene.prepared.pair.ratio).item())


@torch.inference_mode()
def fuse_all(model: KSDiff, scenes: list[Scene], stage: int) -> dict[str, Tensor]:
    """The fused scenes [1, C, H, W] in DN, on the CPU, by name."""
    # Inference is in float32, whatever the precision of training.
    model = model if _is_float32(model) else copy.deepcopy(model).float()
    sharpener = Sharpener(model, device=next(model.parameters()).device.type)
    results = {}
    for scene in scenes:
        kernels = None
        if stage == 1:
            inputs = scene.inputs
            prior = model.target_prior(inputs, scene.gt)
            kernels = model.kernels(prior, model.local_tokens(inputs), inputs)
        results[scene.name] = sharpener.fuse(scene.prepared, kernels)[None]
    return results


def _is_float32(model: nn.Module) -> bool:
    return all(parameter.dtype == torch.float32 for parameter in model.parameters())


def picture(model: KSDiff, scenes: list[Scene], stage: int) -> "Figure":
    """One row per scene: lms, fused, truth (one stretch), and the absolute error."""
    from matplotlib.figure import Figure

    scenes = scenes[:: -(-len(scenes) // _MOST_ROWS)]
    figure = Figure(figsize=(12, 3.2 * len(scenes)), layout="constrained")
    rows = figure.subplots(len(scenes), 4, squeeze=False)
    every = fuse_all(model, scenes, stage)
    for axes, scene in zip(rows, scenes, strict=True):
        fused = every[scene.name] / scene.scale.cpu()
        low, high = (float(np.percentile(_rgb(scene.gt), q)) for q in (1, 99))
        views = {"lms": scene.inputs.lms, "fused": fused, "truth": scene.gt}
        for axis, (title, image) in zip(axes, views.items(), strict=False):
            axis.imshow(((_rgb(image) - low) / (high - low)).clip(0, 1))
            axis.set_title(f"{scene.name}\n{title}" if title == "lms" else title, fontsize=8)
        error = (fused - scene.gt.cpu()).abs().mean(1)[0].cpu().numpy()
        axes[3].imshow(error, cmap="magma", vmin=0, vmax=0.2)
        axes[3].set_title("mean absolute error,\n0 to 0.2 of the band mean", fontsize=8)
        for axis in axes:
            axis.set_axis_off()
    return figure


def _rgb(image: Tensor) -> np.ndarray:
    bands = image[0].cpu().numpy()
    red, green, blue = (4, 2, 1) if len(bands) >= 8 else (2, 1, 0)
    return np.stack([bands[min(b, len(bands) - 1)] for b in (red, green, blue)], -1)
