"""The first minute of whoever has installed the operators: needs PyTorch and ksdiff_ops alone.

    python first_calls.py PAGE.md ...

Calls every operator forward and backward and compares with the reference, then runs the Python
examples of the pages. Prints one JSON object: versions, and the relative error of every operator.
"""

import json
import platform
import re
import sys
from pathlib import Path

import torch
from torch import Tensor

import ksdiff_ops

BOUND = 1e-5  # relative error in the L2 norm, in float32
SHAPES = {
    "dynamic_conv": ((2, 8, 20, 24), (2, 2, 3, 3, 20, 24)),
    "lowrank_dynamic_conv": ((2, 8, 20, 24), (2, 8, 3, 20, 24), (8, 3, 5, 5)),
    "tucker_kernel": ((2, 4, 4, 2, 2), (2, 16, 4), (2, 8, 4), (2, 3, 2), (2, 3, 2)),
    "batched_conv2d": ((2, 8, 20, 24), (2, 12, 8, 3, 3)),
    "adaptive_conv2d": ((2, 8, 20, 24), (2, 3, 3, 20, 24), (12, 8, 3, 3)),
}


def results(name: str, tensors: list[Tensor], backend: str) -> list[Tensor]:
    """The output of an operator, and the gradient of each of its arguments."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    arguments = (leaves[0], leaves[1:]) if name == "tucker_kernel" else leaves
    output = getattr(ksdiff_ops, name)(*arguments, backend=backend)
    return [output.detach(), *torch.autograd.grad(output.square().sum(), leaves)]


def error(name: str) -> float:
    """The largest relative error of the compiled operator, gradients included."""
    tensors = [torch.randn(shape) for shape in SHAPES[name]]
    exact = results(name, tensors, "reference")
    found = results(name, tensors, "cpu")
    return max(
        float((got - truth).norm() / truth.norm()) for got, truth in zip(found, exact, strict=True)
    )


def main(pages: list[str]) -> int:
    torch.manual_seed(0)
    errors = {name: error(name) for name in SHAPES}
    examples = 0
    for page in pages:
        for code in re.findall(r"^```python\n(.*?)^```$", Path(page).read_text(), re.S | re.M):
            exec(compile(code, page, "exec"), {})
            examples += 1
    build = ksdiff_ops.build_info()
    print(
        json.dumps(
            {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "package": ksdiff_ops.__file__,
                "library": ksdiff_ops.native.module._name,
                "cuda_architectures": build["cuda_architectures"],
                "errors": errors,
                "examples": examples,
            }
        )
    )
    return int(max(errors.values()) > BOUND)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
