"""Sections of time and size: cost, latency, long samplers, growth, batches, memory."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from benchmarks.models.contenders import (
    BANDS,
    MODES,
    Contender,
    contenders,
    networks,
    parts,
)
from benchmarks.models.measure import peak_memory, round_robin, seconds_of
from benchmarks.models.names import (
    BF16,
    EAGER,
    FEATURES,
    KSDIFF,
    LARGE,
    NO_PRIOR,
    SMALL,
    UNFOLD,
)
from ksdiff.images.inputs import FusionInputs, SceneStatistics, fusion_inputs
from ksdiff.inference.profile import count_flops
from ksdiff.sensors import sensor_for
from ksdiff.synthetic.scene import procedural_scene

RATIO = 4
SIZE = 256  # of the headline: PAN pixels a side
SIZES, BATCHES = (64, 128, 256, 512, 1024), (1, 2, 4, 8, 16, 32)
_BATCHES_ON_GPU = (64,)  # besides
_SMALL_SIZE = 64  # where batches of 32 and a thousand evaluations can be waited for
_MODERATE, _MANY = 25, 100  # evaluations that can be waited for at SIZE
SENSORS = {8: "wv3", 4: "qb"}
_ONE_PASS = (KSDIFF, NO_PRIOR, "fusionnet", f"{SMALL}, DDIM-1")
# Four bands are timed for the plot of quality against time: only what is scored there.
_SCORED = (KSDIFF, FEATURES, "fusionnet", SMALL)
_SCOUTS = 3  # calls that tell which mode a sampler's network is fastest in
# More networks of one class than torch.compile would by itself compile anew for; beyond them it
# must fail, not run eagerly without a word.
torch._dynamo.config.recompile_limit = 64
torch._dynamo.config.fail_on_recompile_limit_hit = True


class Tile:
    """Procedural images on a device, as digital numbers and as normalised inputs."""

    def __init__(self, size: int, batch: int, device: str, bands: int = BANDS) -> None:
        pan, ms, _ = procedural_scene(seed=0, size=size, bands=bands, ratio=RATIO)
        self.pan, self.ms = (
            torch.from_numpy(image.astype("float32")).expand(batch, -1, -1, -1).to(device)
            for image in (pan, ms)
        )
        self.gains = sensor_for(SENSORS[bands], bands, RATIO).ms_gains
        self.statistics = SceneStatistics.of(self.pan[0], self.ms[0])
        self.inputs = self.prepare()

    def prepare(self) -> FusionInputs:
        phase = (RATIO // 2,) * 2
        inputs = fusion_inputs(self.pan, self.ms, self.gains, RATIO, phase, self.statistics)
        return inputs._replace(contrast=inputs.contrast.expand(len(self.pan), -1))


def cost(device: str, budget: float) -> list[dict]:
    """Parameters that inference needs, and operations of one evaluation at 256 x 256."""
    inputs = Tile(SIZE, 1, device).inputs
    everyone = contenders(networks(device), device)
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
            "flops": of_one.get(c.name, of_one.get(c.family)),
            "size": SIZE,
        }
        for c in everyone
    ]


def _parameters(module: nn.Module) -> int:
    """Those that inference needs: KSDiff's encoder of the truth only serves training."""
    spared = getattr(module, "target_encoder", nn.Module())
    everything, training_only = (
        sum(parameter.numel() for parameter in part.parameters()) for part in (module, spared)
    )
    return everything - training_only


def latency(device: str, budget: float) -> list[dict]:
    """One image of 256 x 256: everybody in every mode, in turn; and KSDiff's parts.

    Samplers of more than one evaluation run in the modes that their network is fastest in, as far
    as they can be waited for. At four bands: what is scored there, without compiling.
    """
    rows = _latency(networks(device), MODES, device, BANDS, 2 / 3 * budget)
    few = {name: network for name, network in networks(device, 4).items() if name in _SCORED}
    return rows + _latency(few, (EAGER, BF16), device, 4, 1 / 3 * budget)


def _latency(found, modes: Iterable[str], device: str, bands: int, budget: float) -> list[dict]:
    tile = Tile(SIZE, 1, device, bands)
    everyone, scouted = [], {}
    for mode in modes:
        ways = contenders(found, device, mode)
        times = _scout(ways, tile.inputs, mode)
        everyone += ways if times else []
        scouted |= times
    promising = {family: _promising(family, scouted) for family in found}
    chosen = [
        c
        for c in everyone
        if c.evaluations == 1 or (c.mode in promising[c.family] and _affordable(c))
    ]
    calls = _calls(chosen, tile.inputs)
    if bands == BANDS:
        stages = parts(found[KSDIFF], tile.inputs).items()
        calls |= {(f"{KSDIFF}: {name}", EAGER): call for name, call in stages}
        calls["input preparation, of all", EAGER] = tile.prepare
    return _rows(calls, budget, SIZE, 1, bands)


def _scout(ways: list[Contender], inputs: FusionInputs, mode: str) -> dict[tuple[str, str], float]:
    """Compile, if the mode asks for it; seconds of one evaluation by family and mode."""
    try:
        times = {}
        for c in ways:
            if c.evaluations == 1:
                began = time.perf_counter()
                c.run(inputs)
                print(f"{c.name}, {mode}: ready in {time.perf_counter() - began:.1f} s", flush=True)
                took = [seconds_of(lambda run=c.run: run(inputs)) for _ in range(_SCOUTS)]
                times.setdefault((c.family, mode), min(took))
        return times
    except TorchDynamoException as problem:
        reason = str(problem).strip().splitlines()[0]
        print(
            f"{mode}: skipped: {reason}; with a C++ compiler that torch.compile finds (CXX names "
            "it): python -m benchmarks.models latency"
        )
        return {}


def _promising(family: str, scouted: dict[tuple[str, str], float]) -> set[str]:
    """The fastest mode; and the fastest in float32, for scores may tell that bfloat16 hurts.

    The large U-Net has no scores, so that its fastest mode counts, whatever it is.
    """
    times = {mode: seconds for (other, mode), seconds in scouted.items() if other == family}
    exact = times if family == LARGE else {m: s for m, s in times.items() if BF16 not in m}
    return {min(times, key=times.get), min(exact, key=exact.get)}


def _affordable(contender: Contender) -> bool:
    """At 256 x 256; DPM-Solver's evaluations of the large U-Net cost what DDIM's do."""
    if contender.family == LARGE:
        return contender.evaluations <= _MODERATE and "DPM" not in contender.name
    return contender.evaluations <= _MANY


def long(device: str, budget: float) -> list[dict]:
    """A thousand evaluations and 25, once each, at sizes at which they can be waited for."""
    everyone = contenders(networks(device), device)

    def at(size: int, *names: str) -> list[dict]:
        chosen = [c for c in everyone if c.name in names]
        return _rows(_calls(chosen, Tile(size, 1, device).inputs), budget / 4, size, 1)

    both = [f"{net}, {sampler}" for net in (SMALL, LARGE) for sampler in ("DDPM-1000", "DDIM-25")]
    return at(_SMALL_SIZE, KSDIFF, NO_PRIOR, *both) + at(SIZE, KSDIFF, f"{SMALL}, DDPM-1000")


def growth(device: str, budget: float) -> list[dict]:
    """One image of growing size in one piece, its prior estimated from all of it."""
    chosen = [c for c in contenders(networks(device), device) if c.name in _ONE_PASS]
    rows = []
    for size in SIZES:
        rows += _rows(_calls(chosen, Tile(size, 1, device).inputs), budget / len(SIZES), size, 1)
    return rows


def batch(device: str, budget: float) -> list[dict]:
    """Batches of images, each with a prior of its own: 64 x 64, on a GPU 256 x 256."""
    chosen = [c for c in contenders(networks(device), device) if c.name in _ONE_PASS]
    size, counts = _SMALL_SIZE, BATCHES
    if device == "cuda":
        size, counts = SIZE, (*BATCHES, *_BATCHES_ON_GPU)
    rows = []
    for count in counts:
        calls = _calls(chosen, Tile(size, count, device).inputs)
        rows += _rows(calls, budget / len(counts), size, count)
    return rows


def memory(device: str, budget: float) -> list[dict]:
    """Peak memory of one 1024 x 1024 image beyond network and inputs; nothing is timed."""
    size = SIZES[-1]
    return [
        {"name": name, "size": size, "batch": 1, "peak_bytes": _peak(name, size, device)}
        for name in (*_ONE_PASS, FEATURES, "dicnn", "lagnet", UNFOLD, f"{LARGE}, DDIM-1")
    ]


def _peak(name: str, size: int, device: str) -> int:
    return peak_memory(
        f"""
import torch
from benchmarks.models.contenders import contenders, networks
from benchmarks.models.speed import Tile
torch.set_grad_enabled(False)
run = next(c.run for c in contenders(networks({device!r}), {device!r}) if c.name == {name!r})
run(Tile(64, 1, {device!r}).inputs)
inputs = Tile({size}, 1, {device!r}).inputs
""",
        "run(inputs)",
        device,
    )


_Calls = dict[tuple[str, str], Callable[[], object]]  # by name and mode


def _calls(chosen: list[Contender], inputs: FusionInputs) -> _Calls:
    return {(c.name, c.mode): lambda run=c.run: run(inputs) for c in chosen}


def _rows(calls: _Calls, budget: float, size: int, batch: int, bands: int = BANDS) -> list[dict]:
    with torch.no_grad():
        times = round_robin(calls, budget)
    return [
        {"name": name, "mode": mode, "size": size, "batch": batch, "bands": bands, **seconds}
        for (name, mode), seconds in times.items()
    ]


SECTIONS = {section.__name__: section for section in (cost, latency, long, growth, batch, memory)}
