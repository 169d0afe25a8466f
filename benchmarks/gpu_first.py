"""First contact with a GPU, each operator called once: `python -m benchmarks.gpu_first DIR`.

The rows of DIR/first.json tell for every operator and backend the relative error of output and
gradients against float64 on the CPU, or what went wrong; the header tells the build, and at the end
the machine. The file is written anew after every call, so that a call that hangs or kills the
process leaves what came before.
"""

import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import ksdiff_ops
from benchmarks import results
from benchmarks.ops import cases
from benchmarks.ops.measure import run
from ksdiff_ops import backends

_BOUND = 2e-2  # relative error in the L2 norm; bfloat16 and TensorFloat-32 stay below it
_CASES = (
    cases.dynamic_conv((2, 8, 40, 72), 5, 2),
    cases.lowrank_dynamic_conv((2, 8, 40, 72), 3, 2),
    cases.tucker_kernel((2, 32, 20, 3, 3), (8, 6, 2, 3)),
    cases.batched_conv2d((2, 16, 20, 36), 24),
    cases.adaptive_conv2d((2, 16, 20, 36), 24),
)


def main(folder: Path, device: str = "cuda") -> int:
    head, rows = {"build": ksdiff_ops.build_info()}, []
    for backend, case in each():
        began = time.perf_counter()
        try:
            errors = call(case, backend, device)
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


def call(case: cases.Case, backend: str, device: str) -> list[float]:
    """Relative errors of the output and of every gradient, in bfloat16."""

    def outputs(tensors: Iterable[Tensor], backend: str) -> list[Tensor]:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        gradient = torch.ones(case.output, dtype=leaves[0].dtype, device=leaves[0].device)
        return run(partial(case.ours, backend=backend), gradient, leaves)

    halves = replace(case, dtype="bfloat16").draw("cpu")
    exact = outputs((half.double() for half in halves), "reference")
    found = outputs((half.to(device) for half in halves), backend)
    return [
        float((got.double().cpu() - truth).norm() / truth.norm())
        for got, truth in zip(found, exact, strict=True)
    ]


def each() -> list[tuple[str, cases.Case]]:
    """Every operator on the backends that a GPU chooses between, the chosen one first."""
    return [
        (backend, case)
        for rank in range(2)
        for case in _CASES
        for backend in backends.AUTOMATIC[case.op]["cuda"].backends[rank : rank + 1]
    ]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
