"""Any network's convolutions in kernel space: the paper's framework for other architectures."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import ksdiff_ops
from ksdiff.models.kernels import LayerShape, layer_shape
from ksdiff_ops.arguments import as_pair

Layers = str | type[nn.Module] | Sequence[str | type[nn.Module]]


class PerSampleConv2d(nn.Conv2d):
    """nn.Conv2d whose weight may also be [B or 1, C_out, C_in / groups, k, k]: one per sample.

    Parameters, state and, with the usual weight, results are those of the layer it replaces.
    """

    per_sample_weight = True

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dim() == 4:
            return super().forward(x)
        if len(self.weight) == 1:
            return self._conv_forward(x, self.weight[0], self.bias)
        padding: Literal["same"] | tuple[int, int] = "same"
        if self.padding_mode != "zeros":
            x = F.pad(x, self._reversed_padding_repeated_twice, self.padding_mode)
            padding = (0, 0)
        elif self.padding == "valid":
            padding = (0, 0)
        elif not isinstance(self.padding, str):
            padding = as_pair(self.padding)
        return ksdiff_ops.batched_conv2d(
            x,
            self.weight,
            self.bias,
            stride=as_pair(self.stride),
            padding=padding,
            dilation=as_pair(self.dilation),
            groups=self.groups,
        )


class Modulated(nn.Module):
    """A network whose chosen layers take their kernels from outside; made by :func:`modulate`.

    Without ``kernels`` a call is the network's own. With them, ``module`` computes with
    ``kernels[i]`` in the place of layer i's weight, for this call only; gradients flow to the
    kernels. The weights stay parameters of ``module`` under their old names: the base kernels W0.
    Like :func:`torch.func.functional_call`, which does the exchange, one instance serves one
    thread at a time, and it must not be combined with activation checkpointing inside ``module``.

    Attributes:
        module: the network.
        names: of the modulated layers, in the order of their kernels.
        shapes: modes and Tucker ranks of every layer, for a kernel generator.
    """

    def __init__(
        self, module: nn.Module, names: Sequence[str], ranks: tuple[int, int, int, int]
    ) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(names)
        self.shapes: list[LayerShape] = [
            layer_shape(layer, ranks) for layer in self.modulated_layers()
        ]

    def modulated_layers(self) -> list[nn.Module]:
        return [self.module.get_submodule(name) for name in self.names]

    def forward(self, *args: Any, kernels: Sequence[Tensor] | None = None, **options: Any) -> Any:
        """``module(*args, **options)``; kernels[i] is [B or 1, *shapes[i].modes]."""
        if kernels is None:
            return self.module(*args, **options)
        if len(kernels) != len(self.names):
            raise ValueError(
                f"kernels: expected {len(self.names)}, one for each modulated layer, "
                f"got {len(kernels)}"
            )
        for name, shape, kernel in zip(self.names, self.shapes, kernels, strict=True):
            if kernel.dim() != 5 or kernel.shape[1:] != shape.modes:
                raise ValueError(
                    f"kernels: layer {name!r} expects [B or 1, "
                    f"{', '.join(map(str, shape.modes))}], got {list(kernel.shape)}"
                )
        weights = {
            f"{name}.weight" if name else "weight": kernel
            for name, kernel in zip(self.names, kernels, strict=True)
        }
        return functional_call(self.module, weights, args, options)


def modulate(
    module: nn.Module,
    layers: Layers = nn.Conv2d,
    ranks: tuple[int, int, int, int] = (4, 4, 2, 2),
) -> Modulated:
    """Turn chosen convolutions of any network into kernel-modulated ones, in place.

    Args:
        module: any network. Its parameters keep their names and values, so its old state still
            loads; called as before it computes what it did before.
        layers: which of its nn.Conv2d: a name pattern as in ``fnmatch`` ("body.*.conv1"), a type
            (subclasses included), or several of either. All of them by default.
        ranks: Tucker ranks of the output, input, row and column modes; each is cut to its mode's
            size.

    Returns:
        The network as :class:`Modulated`: ``modulated.shapes`` tells a
        :class:`~ksdiff.models.kernels.KernelGenerator` what to make,
        ``modulated(*args, kernels=...)`` computes with what it made.

    Raises:
        TypeError: a chosen layer overrides forward, or computes its weight.
        ValueError: nothing is chosen, a layer shares its weight with another, bad ranks.
    """
    if len(ranks) != 4 or not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        raise ValueError(f"ranks: expected four positive integers, got {ranks!r}")
    wanted = (layers,) if isinstance(layers, (str, type)) else tuple(layers)
    convolutions = {name: layer for name, layer in module.named_modules() if _is_convolution(layer)}
    chosen = [
        name
        for name, layer in convolutions.items()
        if any(_matches(name, layer, entry) for entry in wanted)
    ]
    for entry in wanted:
        if not any(_matches(name, layer, entry) for name, layer in convolutions.items()):
            known = ", ".join(repr(name) for name in list(convolutions)[:20]) or "none at all"
            raise ValueError(f"layers: {entry!r} fits no convolution; there are {known}")
    owners: dict[int, str] = {}
    for name in chosen:
        layer = convolutions[name]
        if type(layer) is not nn.Conv2d and not getattr(layer, "per_sample_weight", False):
            raise TypeError(
                f"layers: {name!r} is a {type(layer).__name__}; only nn.Conv2d itself can be "
                "modulated, so leave it out by name"
            )
        if "weight" not in layer._parameters:
            raise TypeError(f"layers: the weight of {name!r} is computed, not a parameter")
        other = owners.setdefault(id(layer.weight), name)
        if other != name:
            raise ValueError(f"layers: {other!r} and {name!r} share one weight; choose neither")
    for name in chosen:
        if type(convolutions[name]) is nn.Conv2d:
            # The object stays the same, with its hooks and for all that refer to it.
            convolutions[name].__class__ = PerSampleConv2d
    return Modulated(module, chosen, ranks)


def _is_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) or getattr(layer, "per_sample_weight", False)


def _matches(name: str, layer: nn.Module, entry: str | type[nn.Module]) -> bool:
    return fnmatchcase(name, entry) if isinstance(entry, str) else isinstance(layer, entry)
