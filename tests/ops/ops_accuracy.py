"""The accuracy that a backend owes: measured against float64, next to PyTorch's own."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_FEW = 16  # numbers whose largest error says little

Operator = Callable[..., Tensor]


def with_gradients(
    operator: Operator,
    inputs: Sequence[Tensor | None],
    backend: str,
    change: Callable[[Tensor], Tensor] = Tensor.detach,
) -> list[Tensor]:
    """The output and the gradient of every input, for a seeded gradient of the output.

    `change` is applied to the inputs and to that gradient first.
    """
    leaves = [t if t is None else change(t.detach()).requires_grad_() for t in inputs]
    output = operator(*leaves, backend=backend)
    wanted = [leaf for leaf in leaves if leaf is not None]
    generator = torch.Generator().manual_seed(7)
    upstream = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    # Rounded once, so that every precision is given the same numbers.
    upstream = change(upstream.to(torch.bfloat16)).to(output)
    return [output.detach(), *torch.autograd.grad(output, wanted, upstream)]


def assert_as_accurate_as_pytorch(
    operator: Operator, inputs: Sequence[Tensor | None], backend: str = "cpu"
) -> None:
    """Output and gradients err at most twice as much as PyTorch at that precision, plus rounding.

    PyTorch's own error is that of the reference backend, which sums in float32 at least. The
    rounding is one of the result, and four of the sum of the terms' absolute values in the
    precision that sums are made in; of few numbers, an eighth of one in their own.
    """
    got = with_gradients(operator, inputs, backend)
    own = with_gradients(operator, inputs, "reference")
    exact = with_gradients(operator, inputs, "reference", Tensor.double)
    terms = with_gradients(operator, inputs, "reference", lambda t: t.double().abs())
    names = ["output", *(f"gradient {i}" for i, t in enumerate(inputs) if t is not None)]
    for name, value, plain, truth, size in zip(names, got, own, exact, terms, strict=True):
        assert value.dtype == plain.dtype, name
        assert value.shape == plain.shape, name
        assert value.isfinite().all(), f"{name} is not finite"
        if truth.numel() == 0:
            continue
        error = (value.double() - truth).abs().max().item()
        allowed = 2 * (plain.double() - truth).abs().max().item()
        summing = torch.float64 if value.dtype == torch.float64 else torch.float32
        floor = torch.finfo(value.dtype).eps * truth.abs().max().item()
        floor += 4 * torch.finfo(summing).eps * size.max().item()
        if value.numel() < _FEW:  # PyTorch's own error, too, is chance
            floor += torch.finfo(value.dtype).eps / 8 * size.max().item()
        assert error <= allowed + floor, f"{name}: error {error}, allowed {allowed} + {floor}"
