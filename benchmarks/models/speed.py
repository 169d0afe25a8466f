"""Sections of time and size: cost, latency, long samplers, growth, batches, memory."""

from collections.abc import Callable

import torch

from benchmarks.models.contenders import BANDS, WEIGHTS, Contender, contenders, parts
from benchmarks.models.measure import peak_memory, round_robin
from benchmarks.models.names import KSDIFF, LARGE, NO_PRIOR, SMALL
from ksdiff.data.inputs import SceneStatistics, fusion_inputs
from ksdiff.data.procedural import procedural_scene
from ksdiff.inference.profile import count_flops
from ksdiff.inference.sharpen import Sharpener
from ksdiff.inputs import FusionInputs
from ksdiff.models.weights import load_weights
from ksdiff.sensors import sensor_for

RATIO = 4
SIZE = 256  # of the headline: PAN pixels a side
SIZES, BATCHES = (64, 128, 256, 512, 1024), (1, 2, 4, 8, 16, 32)
SCENES = (256, 512, 1024, 2048)
_SMALL_SIZE = 64  # where batches of 32 can be waited for
_MODERATE, _MANY = 25, 100  # evaluations that can be waited for at SIZE
_ONE_PASS = (KSDIFF, NO_PRIOR, "fusionnet", f"{SMALL}, DDIM-1")


class Tile:
    """Procedural images on a device, as digital numbers and as normalised inputs."""

    def __init__(self, size: int, batch: int, device: str) -> None:
        pan, ms, _ = procedural_scene(seed=0, size=size, bands=BANDS, ratio=RATIO)
        self.pan, self.ms = (
            torch.from_numpy(image.astype("float32")).expand(batch, -1, -1, -1).to(device)
            for image in (pan, ms)
        )
        self.gains = sensor_for("wv3", BANDS, RATIO).ms_gains
        self.statistics = SceneStatistics.of(self.pan[0], self.ms[0])
        self.inputs = self.prepare()

    def prepare(self) -> FusionInputs:
        phase = (RATIO // 2,) * 2
        inputs = fusion_inputs(self.pan, self.ms, self.gains, RATIO, phase, self.statistics)
        return inputs._replace(contrast=inputs.contrast.expand(len(self.pan), -1))


def cost(device: str, budget: float) -> list[dict]:
    """Parameters that inference needs, and operations for one 256 x 256 image; nothing is timed."""
    inputs = Tile(SIZE, 1, device).inputs
    everyone = contenders(device)
    of_one = {
        c.name if c.family == KSDIFF else c.family: count_flops(lambda run=c.run: run(inputs))
        for c in everyone
        if c.evaluations == 1
    }
    return [
        {
            "name": c.name,
            "family": c.family,
            "evaluations": c.evaluations,
            "parameters": _parameters(c.module),
            "flops": of_one.get(c.name, of_one.get(c.family)) * c.evaluations,
            "size": SIZE,
        }
        for c in everyone
    ]


def _parameters(module: torch.nn.Module) -> int:
    """Those that inference needs: KSDiff's encoder of the truth only serves training."""
    spared = getattr(module, "target_encoder", torch.nn.Module())
    everything, training_only = (
        sum(parameter.numel() for parameter in part.parameters()) for part in (module, spared)
    )
    return everything - training_only


def latency(device: str, budget: float) -> list[dict]:
    """One image of 256 x 256, as it is written: all that a few seconds suffice for, and parts."""
    tile = Tile(SIZE, 1, device)
    chosen = [c for c in contenders(device) if _affordable(c)]
    model = next(c.module for c in chosen if c.name == KSDIFF)
    calls = _calls(chosen, tile.inputs)
    calls |= {f"{KSDIFF}: {name}": call for name, call in parts(model, tile.inputs).items()}
    calls["input preparation, of all"] = tile.prepare
    return _rows(calls, budget, SIZE, 1, "eager")


def compiled(device: str, budget: float) -> list[dict]:
    """The same under torch.compile (CUDA graphs on a GPU), without the longest samplers."""
    chosen = [
        c
        for c in contenders(device, compiled=True)
        if c.family != LARGE and c.evaluations <= _MODERATE
    ]
    return _rows(_calls(chosen, Tile(SIZE, 1, device).inputs), budget, SIZE, 1, "compiled")


def large(device: str, budget: float) -> list[dict]:
    """The U-Net of 15.5 M parameters through the samplers of up to 25 evaluations."""
    chosen = [
        c
        for c in contenders(device)
        if c.name == KSDIFF or (c.family == LARGE and c.evaluations <= _MODERATE)
    ]
    return _rows(_calls(chosen, Tile(SIZE, 1, device).inputs), budget, SIZE, 1)


def bf16(device: str, budget: float) -> list[dict]:
    """The same under autocast to bfloat16, one evaluation each."""
    chosen = [c for c in contenders(device, bf16=True) if c.evaluations == 1 and _affordable(c)]
    return _rows(_calls(chosen, Tile(SIZE, 1, device).inputs), budget, SIZE, 1, "bf16")


def long(device: str, budget: float) -> list[dict]:
    """A thousand evaluations of the small U-Net, once."""
    names = (KSDIFF, f"{SMALL}, DDPM-1000")
    chosen = [c for c in contenders(device) if c.name in names]
    return _rows(_calls(chosen, Tile(SIZE, 1, device).inputs), budget, SIZE, 1)


def growth(device: str, budget: float) -> list[dict]:
    chosen = [c for c in contenders(device) if c.name in _ONE_PASS]
    rows = []
    for size in SIZES:
        rows += _rows(_calls(chosen, Tile(size, 1, device).inputs), budget / len(SIZES), size, 1)
    return rows


def batch(device: str, budget: float) -> list[dict]:
    """Batches of 64 x 64 images, each with a prior of its own."""
    chosen = [c for c in contenders(device) if c.name in _ONE_PASS]
    rows = []
    for count in BATCHES:
        calls = _calls(chosen, Tile(_SMALL_SIZE, count, device).inputs)
        rows += _rows(calls, budget / len(BATCHES), _SMALL_SIZE, count)
    return rows


def scene(device: str, budget: float) -> list[dict]:
    """Whole scenes through `ksdiff.Sharpener`: statistics, registration, prior, windows."""
    sharpener = Sharpener(load_weights(WEIGHTS)[0], sensor="wv3", device=device)
    rows = []
    for size in SCENES:
        tile = Tile(size, 1, "cpu")
        pan, ms = tile.pan[0], tile.ms[0]
        calls = {"ksdiff.Sharpener": lambda pan=pan, ms=ms: sharpener.sharpen(pan, ms)}
        rows += _rows(calls, budget / len(SCENES), size, 1)
    return rows


def memory(device: str, budget: float) -> list[dict]:
    """Peak memory of one 1024 x 1024 image beyond network and inputs; nothing is timed."""
    size = SIZES[-1]
    return [
        {"name": name, "size": size, "batch": 1, "peak_bytes": _peak(name, size, device)}
        for name in (*_ONE_PASS, "dicnn", "lagnet", f"{LARGE}, DDIM-1")
    ]


def _peak(name: str, size: int, device: str) -> int:
    return peak_memory(
        f"""
import torch
from benchmarks.models.contenders import contenders
from benchmarks.models.speed import Tile
torch.set_grad_enabled(False)
run = next(c.run for c in contenders({device!r}) if c.name == {name!r})
run(Tile(64, 1, {device!r}).inputs)
inputs = Tile({size}, 1, {device!r}).inputs
""",
        "run(inputs)",
        device,
    )


def _affordable(contender: Contender) -> bool:
    return contender.family != LARGE and contender.evaluations <= _MANY


def _calls(chosen: list[Contender], inputs: FusionInputs) -> dict[str, Callable[[], object]]:
    return {c.name: lambda run=c.run: run(inputs) for c in chosen}


def _rows(calls, budget: float, size: int, batch: int, mode: str = "eager") -> list[dict]:
    with torch.no_grad():
        times = round_robin(calls, budget)
    return [
        {"name": name, "mode": mode, "size": size, "batch": batch, **seconds}
        for name, seconds in times.items()
    ]


SECTIONS = {
    section.__name__: section
    for section in (cost, latency, compiled, large, bf16, long, growth, batch, scene, memory)
}
