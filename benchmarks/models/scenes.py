"""The section of whole scenes: time and memory of `ksdiff.Sharpener` as they grow."""

import functools
import time
from collections.abc import Callable

from torch import Tensor

from benchmarks.measure import peak_bytes, seconds_of, summary, synchronised_time
from benchmarks.models.contenders import BANDS, EAGER, WEIGHTS
from benchmarks.models.sections import RATIO, SENSORS, Networks, Tile
from ksdiff.images.inputs import FusionInputs
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights

SCENES = (256, 512, 1024, 2048)
_ON_GPU = (*SCENES, 10_000)


class Clock:
    """Adds up the seconds of a model's prior and network, and the pixels the network sees."""

    def __init__(self, model: KSDiff) -> None:
        self.restart()
        fuse = model.fuse

        def counted(inputs: FusionInputs, kernels: object) -> Tensor:
            self.pixels += inputs.pan.numel()
            return fuse(inputs, kernels)

        model.estimate_kernels = self._clocked("prior", model.estimate_kernels)
        model.fuse = self._clocked("network", counted)

    def restart(self) -> None:
        self.seconds, self.pixels = {"prior": 0.0, "network": 0.0}, 0

    def _clocked(self, part: str, call: Callable) -> Callable:
        def run(*arguments, **options):
            began = synchronised_time()
            result = call(*arguments, **options)
            self.seconds[part] += synchronised_time() - began
            return result

        return run


def scene(found: Networks, device: str, budget: float) -> list[dict]:
    """Whole scenes through `ksdiff.Sharpener`, and the shares of prior and network.

    All sizes in turn until the budget is spent, at least once, each after an untimed call; then
    the peak memory of each beyond inputs and result.
    """
    model = load_weights(WEIGHTS[BANDS])[0]
    clock = Clock(model)
    sharpener = Sharpener(model, sensor=SENSORS[BANDS], device=device)
    tile = Tile(max(SCENES), 1, "cpu")
    sizes = _ON_GPU if device == "cuda" else SCENES
    calls = {
        size: functools.partial(
            sharpener.sharpen, _filled(tile.pan[0], size), _filled(tile.ms[0], size // RATIO)
        )
        for size in sizes
    }
    times = {size: {"whole": [], "prior": [], "network": []} for size in sizes}
    seen = {}
    began = time.perf_counter()
    while True:
        for size, call in calls.items():
            call()  # after another size memory and caches are cold
            clock.restart()
            times[size]["whole"].append(seconds_of(call))
            seen[size] = clock.pixels
            for half, seconds in clock.seconds.items():
                times[size][half].append(seconds)
        if time.perf_counter() - began > budget:
            break
    rows = []
    for size, parts in times.items():
        peak = peak_bytes(calls[size], device, min(parts["whole"]))
        if peak is not None and device == "cpu":
            peak = max(peak - 4 * BANDS * size**2, 0)  # less the result
        facts = {"mode": EAGER, "size": size, "batch": 1, "bands": BANDS}
        for name, seconds in parts.items():
            more = {"pixels_seen": seen[size], "peak_bytes": peak}
            rows.append({"name": name, **facts, **summary(seconds), **more})
    return rows


def _filled(image: Tensor, size: int) -> Tensor:
    """[C, size, size] of ``image`` [C, H, W], which is repeated if it is smaller."""
    count = -(-size // image.shape[-1])
    return image.repeat(1, count, count)[:, :size, :size].contiguous()
