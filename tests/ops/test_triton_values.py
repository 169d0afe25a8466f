"""The Triton kernels against the reference, in Triton's interpreter, in a process of its own.

The interpreter is chosen before Triton is first imported and then serves the whole process.
"""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="triton is not installed")

PROGRAM = """
import torch
import ksdiff_ops

torch.manual_seed(0)
r = torch.randn


def check(call, *values):
    results = []
    for backend in ("triton", "reference"):
        leaves = [value.clone().requires_grad_() for value in values]
        y = call(backend, *leaves)
        (y * torch.arange(y.numel()).view_as(y).cos()).sum().backward()
        results.append([y.detach(), *(leaf.grad for leaf in leaves)])
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)


check(
    lambda b, x, w: ksdiff_ops.dynamic_conv(x, w, backend=b),
    r(1, 4, 9, 11), r(1, 2, 3, 3, 9, 11),
)
check(
    lambda b, x, a, k: ksdiff_ops.lowrank_dynamic_conv(x, a, k, backend=b),
    r(1, 4, 9, 11), r(1, 4, 2, 9, 11), r(1, 4, 2, 3, 3),
)
check(
    lambda b, core, *u: ksdiff_ops.tucker_kernel(core, u[:4], u[4], backend=b),
    r(2, 3, 2, 2, 2), r(2, 6, 3), r(2, 5, 2), r(2, 3, 2), r(2, 3, 2), r(6, 5, 3, 3),
)
"""


def test_values_and_gradients_equal_the_reference():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
