"""Measures a case: every form checked, timed in turn with the others, and its peak memory."""

import functools
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks import measure as meter
from benchmarks.ops.cases import OURS, Case
from benchmarks.ops.forms import Form
from ksdiff_ops.backends import available, choose

# Relative error in the L2 norm at most; half precision allows for forms that sum in it.
_BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 6e-2}
_COMPILED = "compiled"
_ROOM = 0.8  # of the memory that is available
_BUDGET = {"cpu": 1.0, "cuda": 0.4}  # seconds for each form; times on a CPU scatter more
_MADE_OF = {"carafe": "dynamic_conv", "separable_dynamic_conv": "dynamic_conv"}


def measure(
    case: Case, direction: str, device: str, compile_forms: bool = True, budget: float | None = None
) -> list[dict[str, object]]:
    """Time all forms of a case side by side, ``budget`` seconds each; one row for each.

    On one thread of a CPU the clock is that thread's CPU time, which other programs do not add to.
    A competitor that needs more memory than there is, or that does not compile, has a row with the
    reason. Ours must work.

    Raises:
        AssertionError: a form computes something else.
    """
    inputs = _inputs(case, device)
    gradient = case.draw_gradient(direction, device)
    expected = _expected(case, inputs[0], gradient)
    counts = {"least_bytes": case.least_bytes(direction), "flops": case.operations(direction)}
    rows: dict[str, dict[str, object]] = {}
    calls, samplers = {}, {}
    for name, function in _forms(case, device, compile_forms):
        rows[name] = case.row(direction) | {"form": name, **counts}
        call = functools.partial(run, function, gradient)
        try:
            _make_room(case, name, direction, device)
            found = call(inputs[0])
        except Exception as error:
            if name.startswith(OURS):
                raise
            rows[name]["left_out"] = _reason(name, error)
            continue
        _check_same(f"{name}, {direction}", found, expected)
        calls[name] = functools.partial(call, inputs[0])
        on_each = [functools.partial(call, own) for own in inputs]
        samplers[name], timing = _sampler(on_each, device)
        rows[name] |= timing
    del expected, found
    for name, times in meter.race(samplers, budget or _BUDGET[device], over=OURS).items():
        rows[name] |= times
    for name, call in calls.items():
        rows[name]["peak_bytes"] = meter.peak_bytes(call, device, rows[name]["p50"])
    rows[OURS]["backend"] = choose(_MADE_OF.get(case.op, case.op), device)
    return list(rows.values())


def _inputs(case: Case, device: str) -> list[list[Tensor]]:
    """As many sets of them as it takes on a GPU until one has left the cache."""
    first = case.draw(device)
    sets = meter.rotations(sum(tensor.nbytes for tensor in first), device)
    return [first, *(case.draw(device, seed) for seed in range(1, sets))]


def _sampler(calls: list[meter.Call], device: str) -> tuple[meter.Sampler, dict[str, str]]:
    """What times the same call on several sets of inputs, and how it does so on a GPU."""
    if device == "cuda":
        sample, timing = meter.graph_sampler(calls)
        return sample, {"timing": timing}
    clock = time.thread_time if torch.get_num_threads() == 1 else None
    return meter.sampler(calls[0], clock), {}


def run(function: Form, gradient: Tensor | None, tensors: list[Tensor]) -> list[Tensor]:
    """The result; with the ``gradient`` of it, those of all tensors, too."""
    if gradient is None:
        with torch.no_grad():
            return [function(*tensors)]
    y = function(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, gradient)]


def _forms(case: Case, device: str, compile_forms: bool) -> Iterator[tuple[str, Form]]:
    """Ours first; on a GPU, ours on the Triton backend, too, where another is chosen."""
    yield OURS, case.ours
    chosen = choose(_MADE_OF.get(case.op, case.op), device)
    if chosen == "cuda" and available()["triton"] is None:
        yield f"{OURS} (triton)", functools.partial(case.ours, backend="triton")
    for name, form in case.plain.items():
        yield name, form
        if compile_forms and name in case.compiled:
            torch._dynamo.reset()  # else it gives up compiling after a few shapes
            yield f"{_COMPILED} {name}", torch.compile(form, dynamic=False)


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
    need, free = case.scratch_bytes(form, direction), meter.available_bytes(device)
    if not form.startswith(OURS) and free is not None and need > _ROOM * free:
        raise MemoryError(f"needs about {need / 2**30:.1f} GiB, and {free / 2**30:.1f} are free")


def _reason(form: str, error: Exception) -> str:
    """In one line."""
    brief = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"[:200]
    return f"{'does not compile' if form.startswith(_COMPILED) else 'fails'}: {brief}"
