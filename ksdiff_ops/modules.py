"""Layers that hold the learnt part of an operator's kernels; the rest comes with every call."""

import torch
from torch import Tensor, nn

from ksdiff_ops import arguments
from ksdiff_ops.adaptive_conv2d import adaptive_conv2d
from ksdiff_ops.arguments import Pair
from ksdiff_ops.lowrank_dynamic_conv import lowrank_dynamic_conv


class AdaptiveConv2d(nn.Module):
    """`adaptive_conv2d` with a learnt kernel: a convolution whose taps each pixel weighs anew.

    With attention 1 it is `torch.nn.Conv2d(..., padding="same")` with the same parameters, which
    are drawn as that layer's are.

    Args:
        in_channels, out_channels: Cin and Cout.
        kernel_size: taps, one int or (rows, columns).
        bias: whether a bias is learnt; without, one may come with the call.
        backend: as for the operator.

    Attributes:
        weight: [Cout, Cin, kh, kw].
        bias: [Cout], or None.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        bias: bool = True,
        *,
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.backend = backend
        shape = (
            arguments.count("out_channels", out_channels),
            arguments.count("in_channels", in_channels),
            *arguments.pair("kernel_size", kernel_size, 1),
        )
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(self.weight.new_empty(shape[0])) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _uniform(self.weight, self.weight[0].numel())
        if self.bias is not None:
            _uniform(self.bias, self.weight[0].numel())

    def forward(self, x: Tensor, attention: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [B, Cin, H, W], attention [B, kh, kw, H, W] -> [B, Cout, H, W].

        A `bias`, [Cout] or [B, Cout], takes the place of the learnt one in this call.
        """
        bias = self.bias if bias is None else bias
        return adaptive_conv2d(x, attention, self.weight, bias, backend=self.backend)

    def extra_repr(self) -> str:
        out_channels, in_channels, *kernel_size = self.weight.shape
        text = f"{in_channels}, {out_channels}, kernel_size={tuple(kernel_size)}"
        return text if self.bias is not None else f"{text}, bias=False"


class LowRankDynamicConv(nn.Module):
    """`lowrank_dynamic_conv` with learnt basis kernels, of which each pixel takes its mixture.

    Args:
        rank: R, basis kernels of a group.
        kernel_size: taps, one int or (rows, columns).
        groups: G, into which the channels of the images are shared out.
        stride, dilation: of the window, as for the operator; its padding is "same".
        backend: as for the operator.

    Attributes:
        basis: [G, R, kh, kw], drawn as `torch.nn.Conv2d` draws kernels of R input channels, which
            suits coefficients of order 1.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
    """

    def __init__(
        self,
        rank: int,
        kernel_size: int | Pair,
        groups: int = 1,
        *,
        stride: int | Pair = 1,
        dilation: int | Pair = 1,
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.backend = backend
        shape = (
            arguments.count("groups", groups),
            arguments.count("rank", rank),
            *arguments.pair("kernel_size", kernel_size, 1),
        )
        self.stride = arguments.pair("stride", stride, 1)
        self.dilation = arguments.pair("dilation", dilation, 1)
        self.basis = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _uniform(self.basis, self.basis[0].numel())

    def forward(self, x: Tensor, coeff: Tensor) -> Tensor:
        """x [B, C, H, W], coeff [B, G, R, Ho, Wo] -> [B, C, Ho, Wo]; G divides C."""
        return lowrank_dynamic_conv(
            x,
            coeff,
            self.basis,
            stride=self.stride,
            dilation=self.dilation,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        groups, rank, *kernel_size = self.basis.shape
        text = f"rank={rank}, kernel_size={tuple(kernel_size)}"
        for name, value, usual in (
            ("groups", groups, 1),
            ("stride", self.stride, (1, 1)),
            ("dilation", self.dilation, (1, 1)),
        ):
            if value != usual:
                text += f", {name}={value}"
        return text


def _uniform(parameter: Tensor, fan_in: int) -> None:
    """As `torch.nn.Conv2d` begins: the output is of order 1 where the input is."""
    nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)
