"""Sections of time and size: what inference costs, image by image and in whole scenes."""

import functools
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from benchmarks.measure import peak_bytes, seconds_of, summary, synchronised_time, timed
from benchmarks.models.contenders import (
    BANDS,
    BF16,
    EAGER,
    FEATURES,
    KSDIFF,
    LARGE,
    MODES,
    NO_PRIOR,
    SMALL,
    UNFOLD,
    WEIGHTS,
    Contender,
    contenders,
    networks,
)
from ksdiff.images.inputs import FusionInputs, SceneStatistics, fusion_inputs
from ksdiff.inference.profile import count_flops, network_calls
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights
from ksdiff.sensors import sensor_for
from ksdiff.synthetic.scene import procedural_scene

RATIO = 4
SIZE = 256  # of the main table: PAN pixels a side
SIZES, BATCHES = (64, 128, 256, 512, 1024), (1, 2, 4, 8, 16, 32)
SCENES = (256, 512, 1024, 2048)
_SMALL_SIZE = 64  # where batches of 32 and a thousand evaluations take bearable time
_MODERATE, _MANY = 25, 100  # evaluations that take bearable time at SIZE
SENSORS = {8: "wv3", 4: "qb"}
_ONE_PASS = (KSDIFF, NO_PRIOR, "fusionnet", f"{SMALL}, DDIM-1")
# Four bands are timed for the plot of quality against time: only what is scored there.
_SCORED = (KSDIFF, FEATURES, "fusionnet", SMALL)
# More networks of one class than torch.compile compiles by default; beyond them it must fail
# instead of running eagerly in silence.
torch._dynamo.config.recompile_limit = 64
torch._dynamo.config.fail_on_recompile_limit_hit = True

Networks = Mapping[str, nn.Module]
_Calls = dict[tuple[str, str], Callable[[], object]]  # by name and mode


def images(size: int, bands: int = BANDS) -> tuple[Tensor, Tensor]:
    """Procedural PAN [1, H, W] and MS [C, H / ratio, W / ratio] in DN."""
    pan, ms, _ = procedural_scene(seed=0, size=size, bands=bands, ratio=RATIO)
    return torch.from_numpy(pan.astype("float32")), torch.from_numpy(ms.astype("float32"))


def tile(device: str, size: int = SIZE, batch: int = 1, bands: int = BANDS) -> FusionInputs:
    """`images` as the network sees them, ``batch`` times."""
    pan, ms = (image.expand(batch, -1, -1, -1).to(device) for image in images(size, bands))
    gains = sensor_for(SENSORS[bands], bands, RATIO).ms_gains
    phase = (RATIO // 2,) * 2
    inputs = fusion_inputs(pan, ms, gains, RATIO, phase, SceneStatistics.of(pan[0], ms[0]))
    return inputs._replace(contrast=inputs.contrast.expand(batch, -1))


def cost(found: Networks, device: str, budget: float) -> list[dict]:
    """Parameters that inference needs, and operations of one evaluation at 256 x 256."""
    inputs, everyone = tile(device), contenders(found, device)
    of_one = {
        c.name if c.family == KSDIFF else c.family: count_flops(functools.partial(c.run, inputs))
        for c in everyone
        if c.evaluations == 1
    }
    rows = []
    for c in everyone:
        # KSDiff's encoder of the truth serves training only.
        needed = (p for name, p in c.module.named_parameters() if "target_encoder." not in name)
        row = {"name": c.name, "family": c.family, "evaluations": c.evaluations, "size": SIZE}
        row["parameters"] = sum(parameter.numel() for parameter in needed)
        rows.append(row | {"flops": of_one.get(c.name, of_one.get(c.family))})
    return rows


def latency(found: Networks, device: str, budget: float) -> list[dict]:
    """One image of 256 x 256: everybody in every mode, in turn; and KSDiff's stages.

    Samplers run as far as they take bearable time. At four bands: what is scored there, without
    compiling.
    """
    rows = _latency(found, MODES, device, BANDS, budget)
    few = {n: net for n, net in networks(device, 4).items() if n in _SCORED and n in found}
    return rows + _latency(few, (EAGER, BF16), device, 4, 1 / 3 * budget)


def _latency(
    found: Networks, modes: Iterable[str], device: str, bands: int, budget: float
) -> list[dict]:
    inputs = tile(device, bands=bands)
    ways = (way for mode in modes for way in _ready(contenders(found, device, mode), inputs))
    calls = _calls(filter(_affordable, ways), inputs)
    if bands == BANDS and KSDIFF in found:
        for name, (call, _) in network_calls(found[KSDIFF], inputs).items():
            calls[f"{KSDIFF}: {name}", EAGER] = call
    return _rows(calls, budget, bands=bands)


def _ready(ways: list[Contender], inputs: FusionInputs) -> list[Contender]:
    """Compiled, if their mode asks for it; none where that fails."""
    for way in ways:
        if way.evaluations > 1:
            continue
        began = time.perf_counter()
        try:
            way.run(inputs)
        except TorchDynamoException as problem:
            reason = str(problem).strip().splitlines()[0]
            print(
                f"{way.mode}: skipped: {reason}; with a C++ compiler that torch.compile finds (CXX "
                "names it): python -m benchmarks.models latency"
            )
            return []
        print(f"{way.name}, {way.mode}: ready in {time.perf_counter() - began:.1f} s", flush=True)
    return ways


def _affordable(contender: Contender) -> bool:
    """At 256 x 256; DPM-Solver's evaluations of the large U-Net cost as much as DDIM's."""
    if contender.family == LARGE:
        return contender.evaluations <= _MODERATE and "DPM" not in contender.name
    return contender.evaluations <= _MANY


def malloc(found: Networks, device: str, budget: float) -> list[dict]:
    """One image of 256 x 256, eager and in bfloat16, in a process that leaves freed memory to
    malloc, as PyTorch does by default (see `ksdiff.runtime`)."""
    names = (KSDIFF, "fusionnet", "lagnet", UNFOLD)
    return _timed(names, found, device, budget, EAGER, BF16)


def long(found: Networks, device: str, budget: float) -> list[dict]:
    """A thousand evaluations and 25, at sizes at which they take bearable time."""
    both = [f"{net}, {sampler}" for net in (SMALL, LARGE) for sampler in ("DDPM-1000", "DDIM-25")]
    few, more = (KSDIFF, f"{SMALL}, DDPM-1000"), (KSDIFF, NO_PRIOR, *both)
    return [
        *_timed(more, found, device, budget / 4, size=_SMALL_SIZE),
        *_timed(few, found, device, budget / 4, size=SIZE),
    ]


def growth(found: Networks, device: str, budget: float) -> list[dict]:
    """One image of growing size in one piece, its prior estimated from all of it."""
    share = budget / len(SIZES)
    return [row for size in SIZES for row in _timed(_ONE_PASS, found, device, share, size=size)]


def batch(found: Networks, device: str, budget: float) -> list[dict]:
    """Batches of images, each with its own prior: 64 x 64, on a GPU 256 x 256."""
    size, rows = SIZE if device == "cuda" else _SMALL_SIZE, []
    for count in BATCHES:
        share = budget / len(BATCHES)
        rows += _timed(_ONE_PASS, found, device, share, size=size, batch=count)
    return rows


def memory(found: Networks, device: str, budget: float) -> list[dict]:
    """Peak memory of one 1024 x 1024 image beyond network and inputs."""
    size = SIZES[-1]
    inputs = tile(device, size)
    shown = (*_ONE_PASS, FEATURES, "dicnn", "lagnet", UNFOLD, f"{LARGE}, DDIM-1")
    peaks = {
        c.name: peak_bytes(functools.partial(c.run, inputs), device)
        for c in contenders(found, device)
        if c.name in shown
    }
    return [{"name": n, "size": size, "batch": 1, "peak_bytes": peak} for n, peak in peaks.items()]


def _timed(
    names: Collection[str], found: Networks, device: str, budget: float, *modes: str, **facts: int
) -> list[dict]:
    """The contenders of these names in turn, eager unless modes are given."""
    every = (c for mode in modes or (EAGER,) for c in contenders(found, device, mode))
    calls = _calls((c for c in every if c.name in names), tile(device, **facts))
    return _rows(calls, budget, **facts)


def _calls(chosen: Iterable[Contender], inputs: FusionInputs) -> _Calls:
    return {(c.name, c.mode): functools.partial(c.run, inputs) for c in chosen}


def _rows(calls: _Calls, budget: float, **facts: int) -> list[dict]:
    facts = {"size": SIZE, "batch": 1, "bands": BANDS} | facts
    return [
        {"name": name, "mode": mode, **facts, **times}
        for (name, mode), times in timed(calls, budget).items()
    ]


def clocked(model: KSDiff) -> Counter:
    """Sums that grow with its calls: seconds of prior and network, and the pixels they see."""
    sums: Counter = Counter()

    def clock(part: str, call: Callable) -> Callable:
        def run(inputs, *arguments, **options):
            began = synchronised_time()
            result = call(inputs, *arguments, **options)
            sums[part] += synchronised_time() - began
            sums[f"{part} pixels"] += inputs.pan.numel()
            return result

        return run

    model.estimate_kernels = clock("prior", model.estimate_kernels)
    model.fuse = clock("network", model.fuse)
    return sums


def scene(found: Networks, device: str, budget: float) -> list[dict]:
    """Whole scenes through `ksdiff.Sharpener`, and the shares of prior and network.

    All sizes in turn until the budget is spent, at least once, each after an untimed call; then
    the peak memory of each beyond inputs and result.
    """
    model = load_weights(WEIGHTS[BANDS])[0]
    sums = clocked(model)
    sharpener = Sharpener(model, sensor=SENSORS[BANDS], device=device)
    pan, ms = images(max(SCENES))
    calls = {
        size: functools.partial(
            sharpener.sharpen,
            pan[:, :size, :size].contiguous(),
            ms[:, : size // RATIO, : size // RATIO].contiguous(),
        )
        for size in SCENES
    }
    times: dict[int, list[Counter]] = {size: [] for size in SCENES}
    began = time.perf_counter()
    while not times[max(SCENES)] or time.perf_counter() - began < budget:
        for size, call in calls.items():
            call()  # after another size memory and caches are cold
            sums.clear()
            whole = seconds_of(call)
            times[size].append(sums + Counter(whole=whole))
    rows = []
    for size, own in times.items():
        peak = peak_bytes(calls[size], device, own[0]["whole"])
        if peak is not None and device == "cpu":
            peak = max(peak - 4 * BANDS * size**2, 0)  # less the result
        facts = {"mode": EAGER, "size": size, "batch": 1, "bands": BANDS}
        more = {"pixels_seen": own[0]["network pixels"], "peak_bytes": peak}
        for part in ("whole", "prior", "network"):
            rows.append({"name": part, **facts, **summary([sums[part] for sums in own]), **more})
    return rows
