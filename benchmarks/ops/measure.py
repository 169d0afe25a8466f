"""Measures a case: every form checked, timed in turn with the others, and its peak memory."""

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import ksdiff_ops
from benchmarks.gpu_timing import graph_sampler, rotations
from benchmarks.measure import available_bytes, peak_bytes, race, sampler
from benchmarks.ops.cases import OURS, Case, Form

# Relative error in the L2 norm at most; half precision allows for forms that sum in it.
_BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 6e-2}
_ROOM = 0.8  # of the memory that is available

_Call = Callable[[list[Tensor]], list[Tensor]]  # inputs to result and gradients


def measure(
    case: Case, direction: str, device: str, compile_forms: bool = True
) -> list[dict[str, object]]:
    """Time all forms of a case side by side; one row for each.

    A competitor that needs more memory than there is, or that does not compile, has a row with the
    reason. Ours must work.

    Raises:
        AssertionError: a form computes something else.
    """
    first = case.draw(device)
    need = sum(tensor.nbytes for tensor in first)
    inputs = [first, *(case.draw(device, seed) for seed in range(1, rotations(need, device)))]
    expected = _expected(case, direction, first)
    counts = {"least_bytes": case.least_bytes(direction), "flops": case.operations(direction)}
    rows: dict[str, dict[str, object]] = {}
    samplers, calls = {}, {}
    for form in _candidates(case, device):
        if form.compiled and not compile_forms:
            continue
        rows[form.name] = case.row(direction) | {"form": form.name, **counts}
        reason = _too_large(case, form, direction, device)
        if reason is None:
            try:
                call = _ready(form, direction)
                found = call(first)
            except Exception as error:
                if form.name.startswith(OURS):
                    raise
                reason = f"{'does not compile' if form.compiled else 'fails'}: {_brief(error)}"
        if reason is not None:
            rows[form.name]["left_out"] = reason
            continue
        _check_same(form, found, expected, direction)
        del found
        calls[form.name] = functools.partial(call, first)
        if device == "cuda":
            on_each = [functools.partial(call, own) for own in inputs]
            samplers[form.name], rows[form.name]["timing"] = graph_sampler(on_each)
        else:
            samplers[form.name] = sampler(calls[form.name])
    del expected
    for name, times in race(samplers).items():
        rows[name] |= times
    for name, call in calls.items():
        rows[name]["peak_bytes"] = peak_bytes(call, device, rows[name]["p50"])
    rows[OURS]["backend"] = ksdiff_ops.backends.choose(case.op, device)
    return list(rows.values())


def _candidates(case: Case, device: str) -> Iterator[Form]:
    """The case's forms; on a GPU, ours on the Triton backend, too, where another is chosen."""
    yield case.forms[0]
    chosen = ksdiff_ops.backends.choose(case.op, device)
    if chosen == "cuda" and ksdiff_ops.backends.available()["triton"] is None:
        ours = functools.partial(case.forms[0].function, backend="triton")
        yield Form(f"{OURS} (triton)", ours)
    yield from case.forms[1:]


def _ready(form: Form, direction: str) -> _Call:
    function = form.function
    if form.compiled:
        torch._dynamo.reset()  # else it gives up compiling after a few shapes
        function = torch.compile(function, dynamic=False)

    def forward(tensors: list[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return [function(*tensors)]

    def forward_and_backward(tensors: list[Tensor]) -> list[Tensor]:
        y = function(*tensors)
        return [y.detach(), *torch.autograd.grad(y, tensors, _output_gradient(y))]

    return forward if direction == "forward" else forward_and_backward


_gradients: dict[tuple, Tensor] = {}


def _output_gradient(y: Tensor) -> Tensor:
    """A gradient for the output, drawn once for the case at hand."""
    key = (tuple(y.shape), y.dtype, y.device)
    if key not in _gradients:
        _gradients.clear()
        _gradients[key] = torch.randn(y.shape, device=y.device, dtype=y.dtype)
    return _gradients[key]


def _expected(case: Case, direction: str, inputs: list[Tensor]) -> list[Tensor]:
    """What the plainest form gives in float32, or in float64 for that."""
    precise = torch.float64 if inputs[0].dtype == torch.float64 else torch.float32
    judge = next(f for f in case.forms[1:] if not f.compiled and not f.patch_copies[1])
    leaves = [tensor.detach().to(precise).requires_grad_() for tensor in inputs]
    with torch.set_grad_enabled(direction != "forward"):
        y = judge.function(*leaves)
    if direction == "forward":
        return [y]
    gradient = _output_gradient(torch.empty_like(y, dtype=inputs[0].dtype))
    return [y.detach(), *torch.autograd.grad(y, leaves, gradient.to(precise))]


def _check_same(form: Form, found: list[Tensor], expected: list[Tensor], direction: str) -> None:
    """A form that computes something else must not win."""
    names = ["result", *(f"gradient {number}" for number in range(len(expected) - 1))]
    for name, one, other in zip(names, found, expected, strict=True):
        error = (one.to(other.dtype) - other).norm() / other.norm()
        bound = _BOUNDS[one.dtype]
        assert error < bound, f"{form.name}, {direction}: {name} is off by {error:.1e}"


def _too_large(case: Case, form: Form, direction: str, device: str) -> str | None:
    need, free = case.scratch_bytes(form, direction), available_bytes(device)
    if form.name.startswith(OURS) or free is None or need < _ROOM * free:
        return None
    return f"needs about {need / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
