"""Times the operators at the shapes of published networks against every eager PyTorch form.

python -m benchmarks.ops.networks
    into benchmarks/results/networks-cpu.json; what that file holds is not repeated

On one thread the clock is the CPU time of that thread, which other processes do not add to.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import ksdiff_ops
from benchmarks import results
from benchmarks.markdown import duration, origin, table
from benchmarks.measure import duel, sampler
from benchmarks.ops import forms
from benchmarks.ops.cases import OURS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DIRECTIONS = ("forward", "forward+backward")
NO_LOSS = 0.97  # of the best PyTorch form's time over ours; the rest is the timer's
_BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 6e-2}  # relative error in the L2 norm


@dataclass(frozen=True)
class Site:
    """An operator where a network has it; ``plain`` are PyTorch's forms of the same by name."""

    network: str
    what: str
    shapes: tuple[tuple[int, ...], ...]
    ours: Callable[..., Tensor]
    plain: dict[str, Callable[..., Tensor]]

    @property
    def id(self) -> str:
        return f"{self.network}: {self.what}"

    def draw(self, dtype: torch.dtype) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        return [
            torch.randn(shape, generator=generator).to(dtype).requires_grad_()
            for shape in self.shapes
        ]


# PyTorch's forms, for any odd kernel; `forms` has those for square ones.


def _patches(x: Tensor, kernel: tuple[int, int]) -> Tensor:
    """[B, C, kh * kw, H, W]"""
    batch, channels, height, width = x.shape
    columns = F.unfold(x, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
    return columns.view(batch, channels, -1, height, width)


def unfold_sum(x: Tensor, weight: Tensor) -> Tensor:
    groups, kernel = weight.shape[1], tuple(weight.shape[2:4])
    patches = _patches(x, kernel).unflatten(1, (groups, -1))
    return (patches * weight.flatten(2, 3)[:, :, None]).sum(3).view_as(x)


def unfold_einsum(x: Tensor, weight: Tensor) -> Tensor:
    groups, kernel = weight.shape[1], tuple(weight.shape[2:4])
    patches = _patches(x, kernel).unflatten(1, (groups, -1))
    return torch.einsum("bgckhw,bgkhw->bgchw", patches, weight.flatten(2, 3)).reshape(x.shape)


def shift(x: Tensor, weight: Tensor) -> Tensor:
    height, width = x.shape[2:]
    groups, kh, kw = weight.shape[1:4]
    padded = F.pad(x, [kw // 2, kw // 2, kh // 2, kh // 2]).unflatten(1, (groups, -1))
    y = None
    for i in range(kh):
        for j in range(kw):
            term = padded[..., i : i + height, j : j + width] * weight[:, :, None, i, j]
            y = term if y is None else y + term
    return y.flatten(1, 2)


def scale(x: Tensor, weight: Tensor) -> Tensor:
    return (x.unflatten(1, (weight.shape[1], -1)) * weight[:, :, None, 0, 0]).flatten(1, 2)


def dynamic(network: str, shape: tuple[int, ...], kernel: tuple[int, int], groups: int) -> Site:
    plain = {"unfold and sum": unfold_sum, "unfold and einsum": unfold_einsum, "shift": shift}
    if kernel == (1, 1):
        plain = {"product": scale}
    name = "C" if groups == shape[1] and groups > 1 else str(groups)
    what = f"dynamic_conv {_times(shape)} k {_times(kernel)} G {name}"
    weight = (shape[0], groups, *kernel, *shape[2:])
    return Site(network, what, (shape, weight), ksdiff_ops.dynamic_conv, plain)


def ddf_weight(spatial: Tensor, channel: Tensor) -> Tensor:
    """The C * k * k planes of a decoupled dynamic filter, as published: [B, C, k, k, H, W]."""
    return spatial[:, None] * channel[..., None, None]


def ddf_ours(x: Tensor, spatial: Tensor, channel: Tensor) -> Tensor:
    return ksdiff_ops.adaptive_conv2d(x, spatial, channel[:, :, None], groups=x.shape[1])


def ddf_shift(x: Tensor, spatial: Tensor, channel: Tensor) -> Tensor:
    height, width = x.shape[2:]
    kh, kw = spatial.shape[1:3]
    padded = F.pad(x, [kw // 2, kw // 2, kh // 2, kh // 2])
    y = None
    for i in range(kh):
        for j in range(kw):
            window = padded[..., i : i + height, j : j + width]
            term = window * spatial[:, None, i, j] * channel[..., i, j, None, None]
            y = term if y is None else y + term
    return y


def ddf_einsum(x: Tensor, spatial: Tensor, channel: Tensor) -> Tensor:
    patches = _patches(x, tuple(spatial.shape[1:3]))
    scaled = patches * spatial.flatten(1, 2)[:, None]
    return torch.einsum("bckhw,bck->bchw", scaled, channel.flatten(2))


def ddf_matmul(x: Tensor, spatial: Tensor, channel: Tensor) -> Tensor:
    patches = _patches(x, tuple(spatial.shape[1:3]))
    scaled = (patches * spatial.flatten(1, 2)[:, None]).flatten(3)
    return (channel.flatten(2)[:, :, None] @ scaled).view_as(x)


def ddf(shape: tuple[int, ...], k: int = 3) -> Site:
    batch, channels, height, width = shape
    what = f"{_times(shape)} k {k}"
    shapes = (shape, (batch, k, k, height, width), (batch, channels, k, k))
    plain = {
        "kernels written out, shift": lambda x, s, c: shift(x, ddf_weight(s, c)),
        "kernels written out, unfold": lambda x, s, c: unfold_sum(x, ddf_weight(s, c)),
        "shift": ddf_shift,
        "unfold and einsum": ddf_einsum,
        "unfold and matmul": ddf_matmul,
    }
    return Site("DDF", what, shapes, ddf_ours, plain)


def carafe_unfold(x: Tensor, weight: Tensor) -> Tensor:
    """As in the usual PyTorch rewritings of CARAFE: patches, repeated, times their kernels."""
    factor, k = weight.shape[-1] // x.shape[-1], weight.shape[2]
    patches = _patches(x, (k, k)).flatten(1, 2)
    patches = F.interpolate(patches, scale_factor=factor, mode="nearest")
    patches = patches.unflatten(1, (-1, k * k))
    return torch.einsum("bckhw,bkhw->bchw", patches, weight[:, 0].flatten(1, 2))


def carafe_subpixel(x: Tensor, weight: Tensor) -> Tensor:
    """Every low-resolution patch times the kernels of its factor * factor output pixels."""
    batch, channels, height, width = x.shape
    factor, k = weight.shape[-1] // width, weight.shape[2]
    patches = _patches(x, (k, k)).permute(0, 3, 4, 1, 2).reshape(-1, channels, k * k)
    own = F.pixel_unshuffle(weight[:, 0].flatten(1, 2), factor)
    own = own.view(batch, k * k, factor**2, height, width).permute(0, 3, 4, 1, 2)
    y = patches @ own.reshape(-1, k * k, factor**2)
    y = y.view(batch, height, width, channels * factor**2).permute(0, 3, 1, 2)
    return F.pixel_shuffle(y, factor)


def carafe(shape: tuple[int, ...], k: int = 5, factor: int = 2) -> Site:
    batch, _, height, width = shape
    weight = (batch, 1, k, k, factor * height, factor * width)
    plain = {"unfold, repeat": carafe_unfold, "matmul per place": carafe_subpixel}
    what = f"{_times(shape)} k {k} by {factor}"

    def ours(x: Tensor, weight: Tensor) -> Tensor:
        return ksdiff_ops.carafe(x, weight, factor)

    return Site("CARAFE", what, (shape, weight), ours, plain)


def separable_ours(x: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    return ksdiff_ops.separable_dynamic_conv(x, vertical[:, None], horizontal[:, None])


def separable_unfold(x: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    k = vertical.shape[1]
    patches = _patches(x, (k, k)).unflatten(2, (k, k))
    return torch.einsum("bcijhw,bihw,bjhw->bchw", patches, vertical, horizontal)


def separable_rows(x: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Row by row: the shifted image times the horizontal kernel, then the vertical weight."""
    k, (height, width) = vertical.shape[1], x.shape[2:]
    padded = F.pad(x, [k // 2] * 4)
    y = None
    for i in range(k):
        band = padded[:, :, i : i + height].unfold(3, width, 1)  # [B, C, H, k, W]
        row = torch.einsum("bchjw,bjhw->bchw", band, horizontal) * vertical[:, None, i]
        y = row if y is None else y + row
    return y


def separable(shape: tuple[int, ...], k: int) -> Site:
    plain = {"unfold and einsum": separable_unfold, "row by row": separable_rows}
    own = (shape[0], k, *shape[2:])
    what = f"{_times(shape)} {k} taps"
    return Site("separable interpolation", what, (shape, own, own), separable_ours, plain)


def batched(network: str, shape: tuple[int, ...], cout: int, k: int, groups: int = 1) -> Site:
    plain = {
        "grouped convolution": forms.batched_grouped,
        "convolution per sample": forms.batched_loop,
        "per sample, channels_last": forms.batched_loop_channels_last,
        "unfold and matmul": forms.batched_unfold,
    }
    name = "C" if groups == shape[1] and groups > 1 else str(groups)
    what = f"batched_conv2d {_times(shape)} to {cout} k {k} G {name}"
    weight = (shape[0], cout, shape[1] // groups, k, k)

    def ours(x: Tensor, weight: Tensor) -> Tensor:
        return ksdiff_ops.batched_conv2d(x, weight, groups=groups)

    return Site(network, what, (shape, weight), ours, plain)


def adaptive(network: str, shape: tuple[int, ...], cout: int, k: int = 3) -> Site:
    plain = {"unfold and matmul": forms.adaptive_unfold, "shift": forms.adaptive_shift}
    what = f"adaptive_conv2d {_times(shape)} to {cout} k {k}"
    shapes = (shape, (shape[0], k, k, *shape[2:]), (cout, shape[1], k, k))
    return Site(network, what, shapes, ksdiff_ops.adaptive_conv2d, plain)


def lowrank(network: str, shape: tuple[int, ...], k: int, groups: int, rank: int) -> Site:
    plain = {
        "unfold": forms.lowrank_unfold,
        "shift": forms.lowrank_shift,
        "convolve and mix": forms.lowrank_mix,
    }
    name = "C" if groups == shape[1] and groups > 1 else str(groups)
    what = f"lowrank_dynamic_conv {_times(shape)} k {k} G {name} R {rank}"
    shapes = (shape, (shape[0], groups, rank, *shape[2:]), (shape[0], groups, rank, k, k))
    return Site(network, what, shapes, ksdiff_ops.lowrank_dynamic_conv, plain)


def _times(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))


def _stages(batch: int) -> Iterator[tuple[int, ...]]:
    """The four stages of a residual network at 224 × 224: channels and sides."""
    yield from ((batch, 64, 56, 56), (batch, 128, 28, 28), (batch, 256, 14, 14), (batch, 512, 7, 7))


SITES: tuple[Site, ...] = (
    *(ddf(shape) for shape in _stages(8)),
    *(dynamic("DDF, kernels whole", shape, (3, 3), shape[1]) for shape in _stages(2)),
    *(dynamic("involution", shape, (7, 7), shape[1] // 16) for shape in _stages(1)),
    *(dynamic("involution", shape, (7, 7), shape[1] // 16) for shape in _stages(8)),
    carafe((1, 256, 25, 34)),
    carafe((1, 256, 50, 68)),
    dynamic("KPN", (4, 8, 128, 128), (5, 5), 8),
    dynamic("KPN", (1, 3, 256, 256), (5, 5), 1),
    dynamic("KPCN", (1, 3, 128, 128), (21, 21), 1),
    adaptive("LAGNet", (1, 32, 256, 256), 32),
    adaptive("LAGNet", (8, 32, 64, 64), 32),
    adaptive("LAGNet", (32, 32, 16, 16), 32),
    adaptive("PAC", (8, 64, 16, 16), 64),
    adaptive("PAC", (1, 256, 16, 16), 256),
    separable((1, 3, 128, 128), 25),
    separable((1, 3, 128, 128), 51),
    *(batched("CondConv", shape, shape[1], 3) for shape in _stages(8)),
    batched("CondConv", (16, 256, 8, 8), 256, 3),
    batched("CondConv", (8, 96, 14, 14), 576, 1),
    batched("CondConv", (8, 320, 7, 7), 1280, 1),
    batched("CondConv", (8, 144, 28, 28), 144, 3, 144),
    batched("CondConv", (8, 576, 7, 7), 576, 5, 576),
    batched("CondConv", (4, 64, 64, 64), 64, 3, 32),
    batched("StyleGAN2", (4, 512, 16, 16), 512, 3),
    lowrank("LAPAR", (1, 3, 128, 128), 5, 1, 72),
    lowrank("low rank", (2, 256, 16, 16), 3, 256, 4),
    lowrank("low rank", (2, 64, 56, 56), 3, 4, 8),
    dynamic("sequences", (4, 512, 1, 64), (1, 7), 16),
    dynamic("sequences", (4, 512, 1, 256), (1, 31), 16),
    dynamic("sequences", (1, 1, 1, 4096), (1, 9), 1),
    dynamic("gate", (1, 64, 128, 128), (1, 1), 1),
    dynamic("gate", (1, 64, 128, 128), (1, 1), 64),
    dynamic("small", (1, 1, 16, 16), (3, 3), 1),
)


def _call(function: Callable[..., Tensor], direction: str, inputs: list[Tensor]):
    if direction == "forward":

        def forward() -> list[Tensor]:
            with torch.no_grad():
                return [function(*inputs)]

        return forward
    with torch.no_grad():
        y = function(*inputs)
    # Rounded once, so that every precision is given the same numbers.
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    upstream = upstream.to(y.dtype)

    def both() -> list[Tensor]:
        y = function(*inputs)
        return [y.detach(), *torch.autograd.grad(y, inputs, upstream)]

    return both


def _expected(site: Site, direction: str, inputs: list[Tensor]) -> list[Tensor]:
    function = next(iter(site.plain.values()))
    return _call(function, direction, [t.detach().float().requires_grad_() for t in inputs])()


def measure(site: Site, dtype: str, direction: str, budget: float) -> list[dict]:
    """A row of times for every form; the forms take turns, ``budget`` seconds for ours.

    Raises:
        AssertionError: a form computes something else.
    """
    inputs = site.draw(DTYPES[dtype])
    expected = _expected(site, direction, inputs)
    clock = time.thread_time if torch.get_num_threads() == 1 else None
    samplers = {}
    for name, function in {OURS: site.ours, **site.plain}.items():
        call = _call(function, direction, inputs)
        for found, wanted in zip(call(), expected, strict=True):
            error = (found.float() - wanted).norm() / wanted.norm()
            assert error < _BOUNDS[DTYPES[dtype]], f"{site.id}, {name}: off by {error:.1e}"
        samplers[name] = sampler(call, clock)
    facts = {"network": site.network, "what": site.what, "dtype": dtype, "direction": direction}
    times = duel(samplers, OURS, budget)
    return [{**facts, "form": name, **own} for name, own in times.items()]


def best_of(forms_of_case: dict[str, dict]) -> tuple[str, float]:
    """The fastest of PyTorch's forms, and its time over ours: round by round, or, in files from
    before rounds were compared, of the medians.
    """
    ours = forms_of_case[OURS]["p50"]
    ratios = {
        name: row.get("ratio", row["p50"] / ours)
        for name, row in forms_of_case.items()
        if name != OURS
    }
    best = min(ratios, key=lambda name: ratios[name])
    return best, ratios[best]


def by_case(rows: list[dict]) -> dict[tuple[str, ...], dict[str, dict]]:
    """(network, what, dtype, direction) -> form -> row"""
    cases: dict[tuple[str, ...], dict[str, dict]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("network", "what", "dtype", "direction"))
        cases.setdefault(key, {})[row["form"]] = row
    return cases


def text(path: Path) -> str:
    """The losses, then all cases: time of the best PyTorch form over ours, round by round."""
    head, rows = results.read(path)
    losses, lines = [], []
    for key, found in by_case(rows).items():
        best, ratio = best_of(found)
        ours, theirs = found[OURS]["p50"], found[best]["p50"]
        line = [*key, duration(ours), duration(theirs), best, f"{ratio:.2f}"]
        lines.append(line)
        if ratio < NO_LOSS:
            losses.append(line)
    heads = ["network", "operator", "dtype", "direction", "ours", "PyTorch", "form", "speed-up"]
    lost = table(heads, losses) if losses else "None.\n"
    return (
        f"{origin(head)}\n\n{len(losses)} of {len(lines)} cases are slower than the best eager "
        f"PyTorch form:\n\n{lost}\nAll cases:\n\n{table(heads, lines)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ops.networks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", help="sites whose name contains this")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="default: all")
    parser.add_argument("--again", action="store_true", help="measure also what the file holds")
    parser.add_argument("--budget", type=float, default=0.3, help="seconds for each form")
    parser.add_argument("--json", type=Path, default=results.RESULTS / "networks-cpu.json")
    given = parser.parse_args()
    head = results.header("cpu")
    rows = results.read(given.json).rows if given.json.exists() else []
    known = by_case(rows)
    for dtype in given.dtype or DTYPES:
        for site in SITES:
            for direction in DIRECTIONS:
                key = (site.network, site.what, dtype, direction)
                if given.only not in site.id or (key in known and not given.again):
                    continue
                found = measure(site, dtype, direction, given.budget)
                own = by_case(found)[key]
                best, ratio = best_of(own)
                print(f"{ratio:6.2f} {dtype} {direction} {site.id} [{best}]", flush=True)
                known[key] = own
                rows = [row for forms_of_case in known.values() for row in forms_of_case.values()]
                results.write(given.json, head, rows)


if __name__ == "__main__":
    main()
