"""Gradients of gradients, against the reference backend's: its formulas have their own tests."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def _second_derivatives(
    operator: Callable[..., Tensor], inputs: Sequence[Tensor | None], backend: str
) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(11)

    def like(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)

    leaves = [t if t is None else t.detach().requires_grad_() for t in inputs]
    wanted = [leaf for leaf in leaves if leaf is not None]
    output = operator(*leaves, backend=backend)
    upstream = like(output).requires_grad_()
    grads = torch.autograd.grad(output, wanted, upstream, create_graph=True)
    total = sum((grad * like(grad)).sum() for grad in grads)
    return torch.autograd.grad(total, [upstream, *wanted])


def assert_second_derivatives(
    operator: Callable[..., Tensor], inputs: Sequence[Tensor | None]
) -> None:
    got = _second_derivatives(operator, inputs, "triton")
    expected = _second_derivatives(operator, inputs, "reference")
    for value, truth in zip(got, expected, strict=True):
        torch.testing.assert_close(value, truth)
