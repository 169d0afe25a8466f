"""First contact with a GPU, each operator called once: `python -m benchmarks.gpu_first DIR`.

DIR/first.json tells the machine, the build, and for every operator and backend the relative error
of output and gradients against float64 on the CPU, or what went wrong. It is written anew after
every call, so that a call that hangs or kills the process leaves what came before.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import ksdiff_ops
from ksdiff_ops import backends

_BOUND = 2e-2  # relative error in the L2 norm; bfloat16 and TensorFloat-32 stay below it


def main(folder: Path, device: str = "cuda") -> int:
    report = {"build": ksdiff_ops.build_info(), "calls": {}, "machine": {}}
    target = folder / "first.json"
    for backend, name in _each():
        began = time.perf_counter()
        try:
            errors = call(*_SAMPLES[name](), backend, device)
            worst = max(errors)
            outcome = {"errors": errors, "ok": worst < _BOUND}
        except Exception as problem:  # whatever it is, the other operators are still tried
            outcome = {"problem": f"{type(problem).__name__}: {problem}", "ok": False}
        outcome["seconds"] = round(time.perf_counter() - began, 3)
        report["calls"][f"{backend} {name}"] = outcome
        print(backend, name, outcome, flush=True)
        target.write_text(json.dumps(report, indent=1) + "\n")
    # Last: it times copies and products, which says nothing where a call has broken the device.
    report["machine"] = _machine(device)
    target.write_text(json.dumps(report, indent=1) + "\n")
    return int(not all(outcome["ok"] for outcome in report["calls"].values()))


def call(
    operator: Callable[..., Tensor], operands: Sequence[Tensor], backend: str, device: str
) -> list[float]:
    """Relative errors of the output and of every gradient, in bfloat16."""

    def results(tensors: Sequence[Tensor], **more: str) -> list[Tensor]:
        leaves = [tensor.requires_grad_() for tensor in tensors]
        output = operator(*leaves, **more)
        return [output, *torch.autograd.grad(output, leaves, torch.ones_like(output))]

    halves = [operand.bfloat16() for operand in operands]
    exact = results([half.double() for half in halves], backend="reference")
    found = results([half.to(device) for half in halves], backend=backend)
    return [
        float(((got.double().cpu() - truth).norm() / truth.norm()).detach())
        for got, truth in zip(found, exact, strict=True)
    ]


def _each() -> list[tuple[str, str]]:
    """Every operator on the backends that a GPU chooses between, the chosen one first."""
    return [
        (backend, name)
        for rank in range(2)
        for name, choices in backends.AUTOMATIC.items()
        for backend in choices["cuda"].backends[rank : rank + 1]
    ]


def _tucker(core: Tensor, *rest: Tensor, backend: str) -> Tensor:
    return ksdiff_ops.tucker_kernel(core, rest[:4], rest[4], backend=backend)


_draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
_SAMPLES: dict[str, Callable[[], tuple[Callable[..., Tensor], list[Tensor]]]] = {
    "dynamic_conv": lambda: (
        ksdiff_ops.dynamic_conv,
        [_draw(2, 8, 40, 72), _draw(2, 2, 5, 5, 40, 72)],
    ),
    "lowrank_dynamic_conv": lambda: (
        ksdiff_ops.lowrank_dynamic_conv,
        [_draw(2, 8, 40, 72), _draw(2, 2, 4, 40, 72), _draw(2, 2, 4, 3, 3)],
    ),
    "tucker_kernel": lambda: (
        _tucker,
        [
            *(_draw(2, 8, 6, 2, 3), _draw(2, 32, 8), _draw(2, 20, 6)),
            *(_draw(2, 3, 2), _draw(2, 3, 3), _draw(32, 20, 3, 3)),
        ],
    ),
    "batched_conv2d": lambda: (
        ksdiff_ops.batched_conv2d,
        [_draw(2, 16, 20, 36), _draw(2, 24, 16, 3, 3)],
    ),
    "adaptive_conv2d": lambda: (
        ksdiff_ops.adaptive_conv2d,
        [_draw(2, 16, 20, 36), _draw(2, 3, 3, 20, 36), _draw(24, 16, 3, 3)],
    ),
}


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
