"""Times calls so small that only what is around the computing takes time, and counts what graphs
keep.

python -m benchmarks.ops.overhead
    into benchmarks/results/overhead-cpu.json
"""

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
import typer
from torch import Tensor

import ksdiff_ops
from benchmarks import results
from benchmarks.markdown import origin, table
from benchmarks.ops import networks
from benchmarks.ops.cases import OURS

CONV2D = "torch.nn.functional.conv2d"
_SMALL = (1, 1, 8, 8)
_AT_ONCE = 5
_CALLS: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    CONV2D: (lambda x, w: F.conv2d(x, w, padding=1), (_SMALL, (1, 1, 3, 3))),
    "dynamic_conv": (ksdiff_ops.dynamic_conv, (_SMALL, (1, 1, 3, 3, 8, 8))),
    "lowrank_dynamic_conv": (
        ksdiff_ops.lowrank_dynamic_conv,
        (_SMALL, (1, 1, 2, 8, 8), (1, 1, 2, 3, 3)),
    ),
    "tucker_kernel": (
        lambda core, *factors: ksdiff_ops.tucker_kernel(core, factors),
        ((1, 2, 2, 2, 2), (1, 4, 2), (1, 4, 2), (1, 3, 2), (1, 3, 2)),
    ),
    "batched_conv2d": (ksdiff_ops.batched_conv2d, (_SMALL, (1, 1, 1, 3, 3))),
    "adaptive_conv2d": (ksdiff_ops.adaptive_conv2d, (_SMALL, (1, 3, 3, 8, 8), (1, 1, 3, 3))),
}


class _Clone(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, ctx.saved_tensors[1]


def _bare(x: Tensor, weight: Tensor) -> Tensor:
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.ksdiff_ops.dynamic_conv.default(x, weight, (1, 1), (1, 1), (1, 1))


_FLOORS = {
    "an operator of the stable ABI, bare": (_bare, _CALLS["dynamic_conv"][1]),
    "an autograd.Function that clones": (_Clone.apply, _CALLS["dynamic_conv"][1]),
}


def call_rows(rounds: int) -> list[dict]:
    rows = []
    for gradients in (False, True):
        calls, times = {}, {}
        for name, (function, shapes) in {**_CALLS, **_FLOORS}.items():
            tensors = [torch.randn(shape, requires_grad=gradients) for shape in shapes]
            calls[name], times[name] = functools.partial(function, *tensors), []
        # Some ten microseconds at a time: what else runs disturbs few of so short samples.
        for _ in range(rounds):
            for name, call in calls.items():
                with torch.set_grad_enabled(gradients):
                    start = time.perf_counter()
                    for _ in range(_AT_ONCE):
                        call()
                    times[name].append((time.perf_counter() - start) / _AT_ONCE)
        rows += [
            {"call": name, "gradients": gradients, "p50": statistics.median(found)}
            for name, found in times.items()
        ]
    return rows


def kept_bytes(function: Callable[..., Tensor], tensors: list[Tensor]) -> int:
    """Memory that a graph keeps beside its inputs, each storage once."""
    inputs = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in inputs:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = function(*tensors)
    return sum(kept.values()) if y.requires_grad else 0


def memory_rows(most_numbers: int = 2**21) -> list[dict]:
    """What graphs keep at the smaller of `networks.SITES`."""
    rows = []
    for site in networks.SITES:
        if max(torch.Size(shape).numel() for shape in site.shapes) > most_numbers:
            continue
        tensors = site.draw(torch.float32)
        given = sum(tensor.nbytes for tensor in tensors)
        for name, form in {OURS: site.ours, **site.plain}.items():
            counts = {"kept_bytes": kept_bytes(form, tensors), "input_bytes": given}
            rows.append({"network": site.network, "what": site.what, "form": name, **counts})
    return rows


def calls_text(path: Path) -> str:
    """Times of calls over conv2d's."""
    head, rows = results.read(path)
    times = {(row["call"], row["gradients"]): row["p50"] for row in rows if "call" in row}
    lines = [
        [
            f"`{name}`" if name in _CALLS else name,
            *(f"{times[name, g] / times[CONV2D, g]:.1f}" for g in (False, True)),
        ]
        for name in (*_CALLS, *_FLOORS)
    ]
    heads = ["call", "without gradients", "recorded for gradients"]
    return f"{origin(head)}\n\n{table(heads, lines)}"


def memory_text(path: Path) -> str:
    """What our graphs keep, and those of the PyTorch form that keeps least."""
    rows = [row for row in results.read(path).rows if "kept_bytes" in row]
    sites: dict[tuple[str, str], dict[str, dict]] = {}
    for row in rows:
        sites.setdefault((row["network"], row["what"]), {})[row["form"]] = row
    lines = []
    for (network, what), forms in sites.items():
        ours, (least, theirs) = forms.pop(OURS), min(forms.items(), key=_kept)
        numbers = ours["input_bytes"], ours["kept_bytes"], theirs["kept_bytes"]
        lines.append([network, what, *(f"{n / 2**20:.2f}" for n in numbers), least])
    heads = ["network", "operator", "inputs, MiB", "ours, MiB", "PyTorch, MiB", "form"]
    return table(heads, lines)


def _kept(named: tuple[str, dict]) -> tuple[int, str]:
    return named[1]["kept_bytes"], named[0]


def main(rounds: int = 2000, json: Path = results.RESULTS / "overhead-cpu.json") -> None:
    """Take ROUNDS samples of each call, and count what graphs keep."""
    torch.set_num_threads(1)
    results.write(json, results.header("cpu"), [*call_rows(rounds), *memory_rows()])


if __name__ == "__main__":
    typer.run(main)
