"""Scores of every method and sampler on the validation scenes, from the very same inputs."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.models.contenders import WEIGHTS, Contender, contenders, ready
from benchmarks.models.names import BF16, EAGER, FEATURES, KSDIFF, PIPELINE, QUALITY, SMALL
from benchmarks.models.train import CONFIGS, load_baseline, load_baseline_config
from ksdiff.config import Config, load_config
from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import FusionInputs
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.rasters import open_pair
from ksdiff.io.scenes import list_scenes
from ksdiff.metrics import reduced_indexes
from ksdiff.models.backbones import BACKBONES
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights
from ksdiff.training.samples import data_path
from ksdiff.training.validation import Scene, validation_scenes

SEEDS = (0, 1, 2)
FEW = 10  # evaluations up to which all seeds are sampled, and bfloat16 is tried
_MOST = 2**24  # evaluations times pixels of a scene that can be waited for
_INDEXES = ("SAM", "ERGAS", "Q2n")
_BORDER, _DATA_RANGE = 21, 2047.0


def quality(bands: int, device: str, budget: float) -> list[dict]:
    """SAM, ERGAS and Q2n of all scenes with truth; a row is one scene, method, mode and seed.

    Of what is trained: weights are looked for where the configs say, and what has none is named
    with the command that makes them. PAN is taken as it lies, except in the rows of
    `ksdiff.Sharpener`, which registers it and makes the result agree with the MS image.

    Raises:
        KSDiffError: there are no scenes of so many bands.
    """
    return list(_rows(bands, device))


# A section each: one is measured again when its networks are trained again, not both.
SECTIONS = {f"{QUALITY}{bands}": functools.partial(quality, bands) for bands in WEIGHTS}


def _rows(bands: int, device: str) -> Iterator[dict]:
    model, config = load_weights(WEIGHTS[bands])
    scenes = validation_scenes(config)
    if not scenes:
        raise KSDiffError(
            f"no validation scenes of {bands} bands with truth; name the folder that has them in "
            "val/ with KSDIFF_DATA=DIR"
        )
    found, steps = {KSDIFF: model}, {KSDIFF: _steps(config)}
    for name, load in _baselines(bands).items():
        try:
            found[name], steps[name] = load()
        except KSDiffError as problem:
            print(f"quality: {bands} bands: {name}: skipped: {problem}")
    found = {name: ready(network, device) for name, network in found.items()}
    largest = max(scene.gt[0, 0].numel() for scene in scenes)
    for scene in scenes:
        moved = scene.to(torch.device(device), torch.float32)
        for name, mode, seed, fuse in _fusions(found, device, largest):
            family = next((known for known in found if name.startswith(known)), None)
            entry = {"bands": bands, "mode": mode, "trained_steps": steps.get(family)}
            fused = scene.scale * fuse(moved.inputs, seed).float().cpu()
            yield _row(scene, name, seed, fused, config.model.ratio) | entry
    yield from _through_sharpener(model, config, scenes, device)


def _steps(config: Config) -> int:
    return config.training.steps_stage1 + config.training.steps_stage2


def _baselines(bands: int) -> dict[str, Callable[[], tuple[nn.Module, int]]]:
    """What loads a baseline's network and the number of its training steps."""

    def trained_here(stem: str) -> tuple[nn.Module, int]:
        path = CONFIGS / f"{stem}-{bands}band.yaml"
        command = f"python -m benchmarks.models.train {path}"
        network, config = load_baseline(_weights(load_baseline_config(path).run_dir, command))
        return network, config.steps

    def features() -> tuple[nn.Module, int]:
        path = CONFIGS / "ksdiff" / f"features-s-{bands}band.yaml"
        run_dir = load_config(path).training.run_dir
        network, config = load_weights(_weights(run_dir, f"ksdiff train {path}"))
        return network, _steps(config)

    return {
        FEATURES: features,
        **{name: lambda name=name: trained_here(name) for name in BACKBONES},
        SMALL: lambda: trained_here("pixel-s"),
    }


def _weights(run_dir: str, command: str) -> Path:
    path = Path(run_dir) / "weights.safetensors"
    if not path.is_file():
        raise KSDiffError(f"{path} is not there; {command} makes it")
    return path


_Fusion = tuple[str, str, int, Callable[[FusionInputs, int], Tensor]]


def _fusions(found: dict[str, nn.Module], device: str, pixels: int) -> Iterator[_Fusion]:
    """(name, mode, seed, call) of everything that is scored."""
    yield "lms", EAGER, 0, lambda inputs, seed: inputs.lms
    for steps in range(1, found[KSDIFF].config.diffusion.steps + 1):
        for seed in SEEDS:
            yield f"{KSDIFF}, {steps} latent steps", EAGER, seed, _latent(found[KSDIFF], steps)
    for mode in (EAGER, BF16):
        for c in contenders(found, device, mode):
            for seed in _seeds(c, pixels):
                yield c.name, mode, seed, c.run


def _latent(model: KSDiff, steps: int) -> Callable[[FusionInputs, int], Tensor]:
    def fuse(inputs: FusionInputs, seed: int) -> Tensor:
        noise = torch.Generator().manual_seed(seed)
        return model.fuse(inputs, model.estimate_kernels(inputs, noise, steps))

    return fuse


def _seeds(contender: Contender, pixels: int) -> tuple[int, ...]:
    """All where few evaluations suffice, one for more, none where it cannot be waited for."""
    if contender.evaluations * pixels > _MOST:
        return ()
    if contender.mode == BF16:
        return SEEDS[:1] if contender.evaluations <= FEW else ()
    return SEEDS if contender.evaluations <= FEW else SEEDS[:1]


def _through_sharpener(
    model: KSDiff, config: Config, scenes: list[Scene], device: str
) -> Iterator[dict]:
    """The whole pipeline: registration, one prior, windows, back-projection."""
    by_name = {scene.name: scene for scene in scenes}
    for files in list_scenes(data_path(config.data.validation)):
        if files.name not in by_name:
            continue
        scene = by_name[files.name]
        with open_pair(files.pan, files.ms) as pair:
            patch = pair.read()
            for seed in SEEDS:
                sharpener = Sharpener(model, sensor=files.sensor, device=device, seed=seed)
                fused = sharpener.sharpen(patch.pan[0], patch.ms[0], phase=pair.phase)
                row = _row(scene, PIPELINE, seed, fused[None], config.model.ratio)
                yield row | {
                    "bands": pair.bands,
                    "mode": EAGER,
                    "trained_steps": _steps(config),
                }


def _row(scene: Scene, name: str, seed: int, fused: Tensor, ratio: int) -> dict:
    """Scores of ``fused`` [1, C, H, W] in DN."""
    indexes = reduced_indexes(fused, scene.scale * scene.gt, ratio, _DATA_RANGE, _BORDER)
    return {
        "scene": scene.name,
        "size": list(scene.gt.shape[-2:]),
        "name": name,
        "seed": seed,
        **{index: indexes[index] for index in _INDEXES},
    }
