"""Calls so small that only what is around the computing takes time, and what graphs keep."""

import functools
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

import ksdiff_ops
from benchmarks.markdown import nested, origin, table
from benchmarks.measure import race, seconds_of
from benchmarks.ops import cases
from benchmarks.ops.suites import NETWORKS
from benchmarks.results import Result

CONV2D = "torch.nn.functional.conv2d"
_AT_ONCE = 5
_SMALL = (1, 1, 8, 8)
_CASES = (
    *(make(_SMALL) for make in (cases.dynamic_conv, cases.batched_conv2d, cases.adaptive_conv2d)),
    cases.lowrank_dynamic_conv(_SMALL, rank=2),
)
_CALLS: dict[str, tuple[Callable[..., Tensor], tuple[cases.Shape, ...]]] = {
    CONV2D: (lambda x, w: F.conv2d(x, w, padding=1), (_SMALL, (1, 1, 3, 3))),
    **{case.op: (case.ours, case.shapes) for case in _CASES},
    "tucker_kernel": (
        lambda core, *factors: ksdiff_ops.tucker_kernel(core, factors),
        cases.tucker_kernel((1, 4, 4, 3, 3), (2, 2, 2, 2)).shapes[:-1],
    ),
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


def calls(rounds: int = 2000) -> Iterator[dict]:
    """Take ROUNDS samples of each call."""
    torch.set_num_threads(1)
    for gradients in (False, True):
        samplers = {}
        for name, (function, shapes) in (_CALLS | _FLOORS).items():
            tensors = [torch.randn(shape, requires_grad=gradients) for shape in shapes]
            samplers[name] = functools.partial(_sample, functools.partial(function, *tensors))
        with torch.set_grad_enabled(gradients):
            found = race(samplers, rounds=(rounds, rounds))
        for name, times in found.items():
            yield {"call": name, "gradients": gradients, "p50": times["p50"]}


def _sample(call: Callable[[], Tensor]) -> float:
    """Of some ten microseconds: what else runs disturbs few of so short samples."""
    return seconds_of(lambda: [call() for _ in range(_AT_ONCE)]) / _AT_ONCE


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


def graph_memory(most_numbers: int = 2**21) -> Iterator[dict]:
    """What graphs keep at the smaller of `NETWORKS`' cases."""
    for network, own in NETWORKS.items():
        for case in own:
            if max(map(math.prod, case.shapes)) > most_numbers:
                continue
            tensors = case.draw("cpu")
            given = sum(tensor.nbytes for tensor in tensors)
            for name, form in {cases.OURS: case.ours, **case.plain}.items():
                counts = {"kept_bytes": kept_bytes(form, tensors), "input_bytes": given}
                yield {"network": network, "what": case.what, "form": name, **counts}


def calls_text(found: Result) -> str:
    """Times of calls over conv2d's."""
    calls = nested(found.rows, "call", "gradients")
    rows = []
    for call, own in calls.items():
        over = (f"{own[on]['p50'] / calls[CONV2D][on]['p50']:.1f}" for on in (False, True))
        rows.append([f"`{call}`" if call in _CALLS else call, *over])
    head = ["call", "without gradients", "recorded for gradients"]
    return f"{origin(found.header)}\n\n{table(head, rows)}"


def memory_text(found: Result) -> str:
    """What our graphs keep, and those of the PyTorch form that keeps least."""
    rows = []
    for (network, what), forms in nested(found.rows, ("network", "what"), "form").items():
        ours = forms.pop(cases.OURS)
        its = min(forms.values(), key=lambda row: (row["kept_bytes"], row["form"]))
        counts = (ours["input_bytes"], ours["kept_bytes"], its["kept_bytes"])
        rows.append([network, what, *(f"{count / 2**20:.2f}" for count in counts), its["form"]])
    head = ["network", "operator", "inputs, MiB", "ours, MiB", "PyTorch, MiB", "form"]
    return table(head, rows)
