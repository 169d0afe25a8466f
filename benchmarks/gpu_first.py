"""First contact with a GPU, each operator called once: `python -m benchmarks.gpu_first DIR`.

DIR/first.json tells the machine, the build, and for every operator and backend the relative error
of output and gradients against float64 on the CPU, or what went wrong. It is written anew after
every call, so that a call that hangs or kills the process leaves what came before.
"""

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import ksdiff_ops
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
    report = {"build": ksdiff_ops.build_info(), "calls": {}, "machine": {}}
    target = folder / "first.json"
    for backend, case in each():
        began = time.perf_counter()
        try:
            errors = call(case, backend, device)
            outcome = {"errors": errors, "ok": max(errors) < _BOUND}
        except Exception as problem:  # whatever it is, the other operators are still tried
            outcome = {"problem": f"{type(problem).__name__}: {problem}", "ok": False}
        outcome["seconds"] = round(time.perf_counter() - began, 3)
        report["calls"][f"{backend} {case.op}"] = outcome
        print(backend, case.op, outcome, flush=True)
        target.write_text(json.dumps(report, indent=1) + "\n")
    # Last: it times copies and products, which says nothing where a call has broken the device.
    report["machine"] = _machine(device)
    target.write_text(json.dumps(report, indent=1) + "\n")
    return int(not all(outcome["ok"] for outcome in report["calls"].values()))


def call(case: cases.Case, backend: str, device: str) -> list[float]:
    """Relative errors of the output and of every gradient, in bfloat16."""

    def results(tensors: Iterable[Tensor], backend: str) -> list[Tensor]:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        gradient = torch.ones(case.output, dtype=leaves[0].dtype, device=leaves[0].device)
        return run(partial(case.ours, backend=backend), gradient, leaves)

    halves = replace(case, dtype="bfloat16").draw("cpu")
    exact = results((half.double() for half in halves), "reference")
    found = results((half.to(device) for half in halves), backend)
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


def _machine(device: str) -> dict[str, object]:
    from benchmarks import results

    facts = results.header(device)
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "gpu_capability": f"{properties.major}.{properties.minor}",
            "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
        }
    return facts


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
