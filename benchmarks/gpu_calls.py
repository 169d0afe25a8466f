"""Operators called on a GPU, step by step of gpu.sh: `python -m benchmarks.gpu_calls STEP ...`

first DIR
    each operator on each backend once: the rows of DIR/first.json tell the relative error of output
    and gradients against float64 on the CPU, or what went wrong; the header tells the build, and at
    the end the machine. The file is written anew after every call, so that a call that hangs or
    kills the process leaves what came before.
sanitize cuda|triton
    every kernel once, on shapes small enough for compute-sanitizer, on contiguous tensors and on
    views at odd offsets and strides, so that both paths of every kernel run, the one of vectors and
    the one of single numbers.
profile DIR [run]
    the case of DIR/operators.json whose time is the most of its floor's: the rows of
    DIR/profile.json are its kernels' times, as PyTorch's profiler sees them. With `run` the case is
    only run, for a profiler that is wrapped around this program.
"""

import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.profiler
from torch import Tensor

import ksdiff_ops
from benchmarks import results
from benchmarks.ops import cases, measure
from benchmarks.ops.suites import sizes
from benchmarks.ops.tables import by_case
from ksdiff_ops import backends

_BOUND = 2e-2  # relative error in the L2 norm; bfloat16 and TensorFloat-32 stay below it
_FIRST = (
    cases.dynamic_conv((2, 8, 40, 72), 5, 2),
    cases.lowrank_dynamic_conv((2, 8, 40, 72), 3, 2),
    cases.tucker_kernel((2, 32, 20, 3, 3), (8, 6, 2, 3)),
    cases.batched_conv2d((2, 16, 20, 36), 24),
    cases.adaptive_conv2d((2, 16, 20, 36), 24),
)
# Channels and groups that make the plan stage, split and stream; the second width is off the
# tiles' and vectors' multiples.
_CHANNELS = ((5, 1), (6, 2), (3, 3))
_KERNELS = ((3, 3), (5, 5), (7, 7), (2, 3))
_SIZES = ((11, 72), (11, 67))
_DTYPES = ("float32", "bfloat16")
# Kernels, and ranks of which there may be more.
_TUCKER = (
    ((10, 13, 3, 3), (3, 4, 2, 3)),
    ((2, 1, 7, 7), (180, 2, 7, 7)),
    ((2, 1, 7, 7), (1200, 2, 1, 1)),
)
_CALLS = 20  # that are profiled


def first(folder: Path, device: str = "cuda") -> int:
    """Returns 1 if a call failed or was off, else 0."""
    head, rows = {"build": ksdiff_ops.build_info()}, []
    for backend, case in each():
        began = time.perf_counter()
        try:
            errors = relative_errors(case, backend, device)
            outcome = {"ok": max(errors) < _BOUND, "errors": errors}
        except Exception as problem:  # whatever it is, the other operators are still tried
            outcome = {"ok": False, "problem": f"{type(problem).__name__}: {problem}"}
        seconds = round(time.perf_counter() - began, 3)
        rows.append({"backend": backend, "op": case.op, **outcome, "seconds": seconds})
        print(rows[-1], flush=True)
        results.write(folder / "first.json", head, rows)
    # Last: it times copies and products, which says nothing where a call has broken the device.
    results.write(folder / "first.json", head | results.header(device), rows)
    return int(not all(row["ok"] for row in rows))


def each() -> list[tuple[str, cases.Case]]:
    """Every operator on the backends that a GPU chooses between, the chosen one first."""
    return [
        (backend, case)
        for rank in range(2)
        for case in _FIRST
        for backend in backends.AUTOMATIC[case.op]["cuda"].backends[rank : rank + 1]
    ]


def relative_errors(case: cases.Case, backend: str, device: str) -> list[float]:
    """Of the output and of every gradient, in bfloat16."""
    halves = replace(case, dtype="bfloat16").draw("cpu")
    exact = _outputs(case, "reference", (half.double() for half in halves))
    found = _outputs(case, backend, (half.to(device) for half in halves))
    return [
        float((got.double().cpu() - truth).norm() / truth.norm())
        for got, truth in zip(found, exact, strict=True)
    ]


def _outputs(case: cases.Case, backend: str, tensors: Iterable[Tensor]) -> list[Tensor]:
    """The output, whose gradient is one everywhere, and the gradients of all tensors."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    gradient = leaves[0].new_ones(case.output)
    return measure.run(partial(case.ours, backend=backend), gradient, leaves)


def sanitize(backend: str, device: str = "cuda") -> None:
    for case in calls(backend):
        for layout in (Tensor.detach, _off_by_one, _turned):
            _outputs(case, backend, (layout(each.detach()) for each in case.draw(device)))
    if device == "cuda":
        torch.cuda.synchronize()


def calls(backend: str) -> Iterator[cases.Case]:
    """The cases whose kernels a backend has."""
    axes = itertools.product(_CHANNELS, _KERNELS, _SIZES, _DTYPES)
    for (channels, groups), kernel, size, dtype in (*axes, ((4, 2), (3, 3), _SIZES[0], "float64")):
        shape = (2, channels, *size)
        yield replace(cases.dynamic_conv(shape, kernel, groups), dtype=dtype)
        yield replace(cases.lowrank_dynamic_conv(shape, kernel, groups, 3), dtype=dtype)
    yield _strided(cases.dynamic_conv((2, 4, 12, 22), 3, 2), (2, 2, 3, 3, 6, 11))
    for modes, ranks in _TUCKER:
        factors = ((2, *pair) for pair in zip(modes, ranks, strict=True))
        yield replace(cases.tucker_kernel((2, *modes)), shapes=((2, *ranks), *factors, modes))
    if backend == "triton":
        for dtype, size in itertools.product(_DTYPES, _SIZES):
            shape = (2, 6, *size)
            grouped = cases.batched_conv2d(shape, 10, groups=2)
            whole = cases.batched_conv2d(shape, 10), cases.adaptive_conv2d(shape, 9)
            for case in (*whole, _strided(grouped, grouped.shapes[1])):
                yield replace(case, dtype=dtype)


def _strided(case: cases.Case, weight: cases.Shape) -> cases.Case:
    return replace(case, ours=partial(case.ours, stride=2), shapes=(case.shapes[0], weight))


def _off_by_one(tensor: Tensor) -> Tensor:
    """The same numbers at an address that is no multiple of a vector."""
    return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)


def _turned(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, -1).contiguous().transpose(0, -1)


def profile(folder: Path, only: str = "", device: str = "cuda") -> None:
    worst = max(
        by_case(results.read(folder / "operators.json")),
        key=lambda case: case.ours["p50"] / case.floor,
    )
    case, direction = next(
        (case, direction)
        for case, direction, _ in sizes(device)
        if case.row(direction).items() <= worst.ours.items()
    )
    inputs, gradient = case.draw(device), case.draw_gradient(direction, device)

    def run(times: int) -> None:
        for _ in range(times):
            measure.run(case.ours, gradient, inputs)

    run(3)
    if only == "run":
        return
    with torch.profiler.profile() as profiler:
        run(_CALLS)
    events = profiler.key_averages()
    kernels = [
        {"name": event.key, "calls": event.count, "seconds": event.device_time_total * 1e-6}
        for event in events
        if event.device_time_total > 0
    ]
    kernels.sort(key=lambda kernel: -kernel["seconds"])
    head = {"case": {**worst.ours, "floor": worst.floor}}
    results.write(folder / "profile.json", head, kernels)
    print(events.table(sort_by="device_time_total", row_limit=10))


if __name__ == "__main__":
    name, given, *others = sys.argv[1:]
    steps = {"first": first, "sanitize": sanitize, "profile": profile}
    sys.exit(steps[name](given if name == "sanitize" else Path(given), *others))
