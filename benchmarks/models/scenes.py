"""The section of whole scenes: time and memory of `ksdiff.Sharpener` as they grow."""

import functools
import time
from collections.abc import Callable

from torch import Tensor, nn

from benchmarks.measure import peak_bytes, seconds_of, summary, synchronised_time
from benchmarks.models.contenders import BANDS, EAGER, WEIGHTS
from benchmarks.models.sections import RATIO, SENSORS, Networks, Tile
from ksdiff.images.inputs import FusionInputs
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.weights import load_weights

SCENES = (256, 512, 1024, 2048)
_ON_GPU = (*SCENES, 10_000)


class Clocked(nn.Module):
    """A KSDiff that adds up the seconds of prior and network, and the pixels the network sees."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.restart()

    def restart(self) -> None:
        self.seconds = {"prior": 0.0, "network": 0.0}
        self.pixels = 0

    def estimate_kernels(self, *arguments, **options):
        return self._timed("prior", self.model.estimate_kernels, *arguments, **options)

    def fuse(self, inputs: FusionInputs, kernels: object) -> Tensor:
        self.pixels += inputs.pan.numel()
        return self._timed("network", self.model.fuse, inputs, kernels)

    def _timed(self, half: str, call: Callable, *arguments, **options):
        began = synchronised_time()
        result = call(*arguments, **options)
        self.seconds[half] += synchronised_time() - began
        return result


def scene(found: Networks, device: str, budget: float) -> list[dict]:
    """Whole scenes through `ksdiff.Sharpener`, and the shares of prior and network.

    All sizes in turn until the budget is spent, at least once, each after an untimed call; then
    the peak memory of each beyond inputs and result.
    """
    model = Clocked(load_weights(WEIGHTS[BANDS])[0])
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
            model.restart()
            times[size]["whole"].append(seconds_of(call))
            seen[size] = model.pixels
            for half, seconds in model.seconds.items():
                times[size][half].append(seconds)
        if time.perf_counter() - began > budget:
            break
    peaks = {
        size: _scene_peak(call, device, size, min(times[size]["whole"]))
        for size, call in calls.items()
    }
    return [
        {
            "name": name,
            "mode": EAGER,
            "size": size,
            "batch": 1,
            "bands": BANDS,
            **summary(seconds),
            "pixels_seen": seen[size],
            "peak_bytes": peaks[size],
        }
        for size, parts_of in times.items()
        for name, seconds in parts_of.items()
    ]


def _filled(image: Tensor, size: int) -> Tensor:
    """[C, size, size] of ``image`` [C, H, W], which is repeated if it is smaller."""
    count = -(-size // image.shape[-1])
    return image.repeat(1, count, count)[:, :size, :size].contiguous()


def _scene_peak(call: Callable[[], Tensor], device: str, size: int, seconds: float) -> int | None:
    """Bytes beyond inputs and result, which is on the CPU whatever the device."""
    peak = peak_bytes(call, device, seconds)
    result = 0 if device == "cuda" else 4 * BANDS * size**2
    return None if peak is None else max(peak - result, 0)
