"""Registers what autograd does with an operator."""

from collections.abc import Callable
from typing import Any

import torch


def register(
    library: torch.library.Library,
    operator: torch._ops.OpOverload,
    backward: Callable[..., tuple],
    setup_context: Callable[[Any, tuple, Any], None],
) -> None:
    """As `torch.library.register_autograd`, which takes twice as long per call.

    The operator takes no lists of tensors and no arguments by keyword alone, and returns one
    tensor or a list of them.
    """

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            result = below_autograd(*inputs)
            setup_context(ctx, inputs, result)
            return tuple(result) if isinstance(result, list) else result

        @staticmethod
        def backward(ctx, *gradients):
            if torch.is_grad_enabled():
                return backward(ctx, *gradients)
            with torch._C._AutoDispatchBelowAutograd():
                return backward(ctx, *gradients)

    def below_autograd(*inputs):
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*inputs)

    def kernel(*inputs):
        if not torch.is_grad_enabled():
            return below_autograd(*inputs)
        result = Gradient.apply(*inputs)
        return list(result) if isinstance(result, tuple) else result

    library.impl(operator._opname, kernel, "Autograd")
