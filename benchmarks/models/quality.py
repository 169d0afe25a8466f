"""Scores of every method and sampler on the validation scenes, from the very same inputs."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.models.contenders import (
    BF16,
    EAGER,
    FEATURES,
    KSDIFF,
    SMALL,
    WEIGHTS,
    Contender,
    OnePass,
    contenders,
    ready,
)
from ksdiff.config import Config, load_config
from ksdiff.errors import KSDiffError
from ksdiff.evaluation.run import DEFAULT_BORDER
from ksdiff.images.inputs import FusionInputs
from ksdiff.inference.sharpen import Sharpener
from ksdiff.metrics import reduced_indexes
from ksdiff.models.backbones import BACKBONES
from ksdiff.models.weights import load_weights
from ksdiff.training.validation import Scene, validation_scenes

PIPELINE = "ksdiff-s through ksdiff.Sharpener"
INDEXES = ("SAM", "ERGAS", "Q2n")
SEEDS = (0, 1, 2)
FEW = 10  # evaluations up to which all seeds are sampled, and bfloat16 is tried
CONFIGS = Path(__file__).parent / "configs"
_STEMS = {FEATURES: "features-s", **{name: name for name in BACKBONES}, SMALL: "pixel-s"}
_MOST = 2**24  # evaluations times pixels of a scene that take bearable time
_DATA_RANGE = 2047.0


def quality(bands: int, _: object, device: str, budget: float) -> list[dict]:
    """SAM, ERGAS and Q2n of all scenes with truth; a row is one scene, method, mode and seed.

    Trained weights are looked for where the configs say; for missing ones the command that makes
    them is printed. All see the scene as `ksdiff.Sharpener` prepares it, in one piece; only the
    rows of `ksdiff.Sharpener` itself project the result back onto the MS image.

    Raises:
        KSDiffError: there are no scenes of so many bands.
    """
    model, config = load_weights(WEIGHTS[bands])
    scenes = validation_scenes(config)
    if not scenes:
        raise KSDiffError(
            f"no validation scenes of {bands} bands with truth; name the folder that has them in "
            "val/ with KSDIFF_DATA=DIR"
        )
    found, steps = {KSDIFF: model}, {KSDIFF: _steps(config)}
    for name, stem in _STEMS.items():
        try:
            found[name], steps[name] = _baseline(CONFIGS / f"{stem}-{bands}band.yaml")
        except KSDiffError as problem:
            print(f"quality: {bands} bands: {name}: skipped: {problem}")
    found = {name: ready(network, device) for name, network in found.items()}
    largest = max(scene.truth[0, 0].numel() for scene in scenes)
    rows = []
    for scene in scenes:
        for name, mode, seed, fuse in _fusions(found, device, largest):
            fused = fuse(scene, seed)
            judged = reduced_indexes(
                fused, scene.truth, config.model.ratio, _DATA_RANGE, DEFAULT_BORDER
            )
            row = {"scene": scene.name, "size": list(scene.truth.shape[-2:]), "name": name}
            row |= {"seed": seed, **{index: judged[index] for index in INDEXES}}
            family = next((known for known in found if name.startswith(known)), None)
            rows.append(row | {"bands": bands, "mode": mode, "trained_steps": steps.get(family)})
    return rows


def _steps(config: Config) -> int:
    return config.training.steps_stage1 + config.training.steps_stage2


def _baseline(path: Path) -> tuple[nn.Module, int]:
    """A baseline's trained network and the number of its training steps."""
    config = load_config(path)
    pixel = path.stem.startswith("pixel")
    weights = Path(config.training.run_dir) / "weights.safetensors"
    if not weights.is_file():
        command = "python -m benchmarks.models.pixel_diffusion" if pixel else "ksdiff train"
        raise KSDiffError(f"{weights} is not there; {command} {path} makes it")
    if pixel:
        from benchmarks.models.pixel_diffusion import load

        return load(weights, config), _steps(config)
    model, config = load_weights(weights)
    one_pass = config.model.network in BACKBONES
    return OnePass(model.network.module) if one_pass else model, _steps(config)


def _fusions(found: dict[str, nn.Module], device: str, pixels: int) -> Iterator[tuple]:
    """Name, mode, seed and call of everything that is scored; results are [1, C, H, W] in DN."""
    model = found[KSDIFF]

    def in_dn(run: Callable[[FusionInputs, int], Tensor]) -> Callable[[Scene, int], Tensor]:
        def fuse(scene: Scene, seed: int) -> Tensor:
            inputs = scene.inputs.map(lambda part: part.to(device))
            return scene.scale * run(inputs, seed).float().cpu()

        return fuse

    def whole(scene: Scene, seed: int) -> Tensor:
        return Sharpener(model, device=device, seed=seed).fuse(scene.prepared)[None]

    def latent(inputs: FusionInputs, seed: int, steps: int) -> Tensor:
        noise = torch.Generator().manual_seed(seed)
        return model.fuse(inputs, model.estimate_kernels(inputs, noise, steps))

    for steps, seed in itertools.product(range(1, model.config.diffusion.steps + 1), SEEDS):
        yield f"{KSDIFF}, {steps} latent steps", EAGER, seed, in_dn(partial(latent, steps=steps))
    for mode in (EAGER, BF16):
        for c in contenders(found, device, mode):
            for seed in _seeds(c, pixels):
                yield c.name, mode, seed, in_dn(c.run)
    for seed in SEEDS:
        yield PIPELINE, EAGER, seed, whole


def _seeds(contender: Contender, pixels: int) -> tuple[int, ...]:
    """All for few evaluations, one for more, none where that takes too long."""
    few, half = contender.evaluations <= FEW, contender.mode == BF16
    if contender.evaluations * pixels > _MOST or (half and not few):
        return ()
    return SEEDS if few and not half else SEEDS[:1]
