"""What a tile of 256 x 256 PAN pixels costs with the weights for any bands, prior and fusion.

Beside the weights for four and eight bands alone, in turn, on one thread.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.markdown import duration, nested, noted, table
from benchmarks.measure import race, sampler
from benchmarks.results import Result
from ksdiff.images.pair import ArrayPair
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.weights import load_weights
from ksdiff.synthetic.scene import procedural_scene

_TILES = (
    *((bands, "ksdiff-s") for bands in (1, 2, 3, 4, 8)),
    (4, "ksdiff-s-4band"),
    (8, "ksdiff-s-8band"),
)
_SIDE, _RATIO = 256, 4
_BUDGET = 3.0  # seconds of measuring, each


def _call(bands: int, weights: str) -> Callable[[], Tensor]:
    pan, ms, _ = (torch.from_numpy(x.astype("f4")) for x in procedural_scene(3, 2 * _SIDE, bands))
    side = _SIDE // _RATIO
    pair = ArrayPair(pan[:, :_SIDE, :_SIDE], ms[:, :side, :side], (2.0, 2.0))
    model, _ = load_weights(weights)
    inputs = Sharpener(weights).prepare(pair).network_inputs(pair.read())

    @torch.inference_mode()
    def fuse() -> Tensor:
        kernels = model.estimate_kernels(inputs, torch.Generator().manual_seed(0))
        return model.fuse(inputs, kernels)

    return fuse


def measure() -> Iterator[dict]:
    torch.set_num_threads(1)
    found = race({tile: sampler(_call(*tile)) for tile in _TILES}, _BUDGET)
    for bands, weights in _TILES:
        seconds = found[bands, weights]["p50"]
        yield {"bands": bands, "weights": weights, "seconds": seconds}


def text(found: Result) -> str:
    """Bands down; time with the weights for any bands, and beside that of the others."""
    rows = []
    for bands, own in nested(found.rows, "bands", "weights").items():
        seconds, other = own["ksdiff-s"]["seconds"], own.get(f"ksdiff-s-{bands}band")
        over = f"{seconds / other['seconds']:.2f}" if other else "–"
        rows.append([str(bands), duration(seconds), over])
    head = ["bands", "ksdiff-s", "over the weights for that number of bands"]
    return noted(table(head, rows), found)
