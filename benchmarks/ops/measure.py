"""Measures a case: every form checked, timed in turn with the others, and its peak memory."""

import functools
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import ksdiff_ops
from benchmarks.gpu_timing import graph_sampler, rotations
from benchmarks.measure import available_bytes, peak_bytes, race, sampler
from benchmarks.ops.cases import COMPILED, OURS, Case
from benchmarks.ops.forms import Form

# Relative error in the L2 norm at most; half precision allows for forms that sum in it.
_BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 6e-2}
_ROOM = 0.8  # of the memory that is available
_MADE_OF = {"carafe": "dynamic_conv", "separable_dynamic_conv": "dynamic_conv"}


def measure(
    case: Case, direction: str, device: str, compile_forms: bool = True, budget: float = 0.4
) -> list[dict[str, object]]:
    """Time all forms of a case side by side, ``budget`` seconds each; one row for each.

    On one thread of a CPU the clock is that thread's CPU time, which other programs do not add to.
    A competitor that needs more memory than there is, or that does not compile, has a row with the
    reason. Ours must work.

    Raises:
        AssertionError: a form computes something else.
    """
    first = case.draw(device)
    need = sum(tensor.nbytes for tensor in first)
    inputs = [first, *(case.draw(device, seed) for seed in range(1, rotations(need, device)))]
    gradient = case.draw_gradient(direction, device)
    expected = _expected(case, first, gradient)
    clock = time.thread_time if device == "cpu" and torch.get_num_threads() == 1 else None
    counts = {"least_bytes": case.least_bytes(direction), "flops": case.operations(direction)}
    rows: dict[str, dict[str, object]] = {}
    samplers, calls = {}, {}
    for name, function in _forms(case, device):
        compiled = name.startswith(COMPILED)
        if compiled and not compile_forms:
            continue
        rows[name] = case.row(direction) | {"form": name, **counts}
        try:
            _make_room(case, name, direction, device)
            call = functools.partial(run, _compiled(function) if compiled else function, gradient)
            found = call(first)
        except Exception as error:
            if name.startswith(OURS):
                raise
            reason = "does not compile" if compiled else "fails"
            rows[name]["left_out"] = f"{reason}: {_brief(error)}"
            continue
        _check_same(f"{name}, {direction}", found, expected)
        del found
        calls[name] = functools.partial(call, first)
        if device == "cuda":
            on_each = [functools.partial(call, own) for own in inputs]
            samplers[name], rows[name]["timing"] = graph_sampler(on_each)
        else:
            samplers[name] = sampler(calls[name], clock)
    del expected
    for name, times in race(samplers, budget, over=OURS).items():
        rows[name] |= times
    for name, call in calls.items():
        rows[name]["peak_bytes"] = peak_bytes(call, device, rows[name]["p50"])
    rows[OURS]["backend"] = _backend(case, device)
    return list(rows.values())


def run(function: Form, gradient: Tensor | None, tensors: list[Tensor]) -> list[Tensor]:
    """The result; with the ``gradient`` of it, those of all tensors, too."""
    if gradient is None:
        with torch.no_grad():
            return [function(*tensors)]
    y = function(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, gradient)]


def _backend(case: Case, device: str) -> str:
    return ksdiff_ops.backends.choose(_MADE_OF.get(case.op, case.op), device)


def _forms(case: Case, device: str) -> Iterator[tuple[str, Form]]:
    """Ours first; on a GPU, ours on the Triton backend, too, where another is chosen."""
    yield OURS, case.ours
    if _backend(case, device) == "cuda" and ksdiff_ops.backends.available()["triton"] is None:
        yield f"{OURS} (triton)", functools.partial(case.ours, backend="triton")
    yield from case.plain.items()


def _compiled(function: Form) -> Callable:
    torch._dynamo.reset()  # else it gives up compiling after a few shapes
    return torch.compile(function, dynamic=False)


def _expected(case: Case, inputs: list[Tensor], gradient: Tensor | None) -> list[Tensor]:
    """What the plainest form gives in float32, or in float64 for that."""
    precise = torch.float64 if case.dtype == "float64" else torch.float32
    plain = min(case.plain, key=lambda name: "unfold" in name)
    leaves = [tensor.detach().to(precise).requires_grad_() for tensor in inputs]
    return run(case.plain[plain], None if gradient is None else gradient.to(precise), leaves)


def _check_same(form: str, found: list[Tensor], expected: list[Tensor]) -> None:
    """A form that computes something else must not win."""
    names = ["result", *(f"gradient {number}" for number in range(len(expected) - 1))]
    for name, one, other in zip(names, found, expected, strict=True):
        error = (one.to(other.dtype) - other).norm() / other.norm()
        assert error < _BOUNDS[one.dtype], f"{form}: {name} is off by {error:.1e}"


def _make_room(case: Case, form: str, direction: str, device: str) -> None:
    need, free = case.scratch_bytes(form, direction), available_bytes(device)
    if not form.startswith(OURS) and free is not None and need > _ROOM * free:
        raise MemoryError(f"needs about {need / 2**30:.1f} GiB, and {free / 2**30:.1f} are free")


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
