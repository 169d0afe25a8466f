"""The section of whole scenes: time and memory of `ksdiff.Sharpener` as they grow."""

import functools
import time
from collections import Counter
from collections.abc import Callable

from benchmarks.measure import peak_bytes, seconds_of, summary, synchronised_time
from benchmarks.models.contenders import BANDS, EAGER, WEIGHTS
from benchmarks.models.sections import RATIO, SENSORS, Networks, images
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights

SCENES = (256, 512, 1024, 2048)


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
