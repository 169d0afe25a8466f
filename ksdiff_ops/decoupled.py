"""Decoupled dynamic filters out of `dynamic_conv`: kernels that are products of a spatial and a
channel filter, written out for a few channels at a time, so that they stay in a cache.

y[b, c, p] = sum over taps i of spatial[b, i, p] * channel[b, c, i] * x[b, c, p * stride
+ i * dilation - padding]. Whole, the kernels are kh * kw times the image.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

SCHEMAS = (
    "decoupled_conv2d(Tensor x, Tensor spatial, Tensor channel, "
    "int[] stride, SymInt[] padding, int[] dilation) -> Tensor",
    "decoupled_conv2d_backward(Tensor grad, Tensor x, Tensor spatial, Tensor channel, "
    "int[] stride, SymInt[] padding, int[] dilation) -> Tensor[]",
)

# Bytes of the kernels that are written out at once: a core's second cache has room for them and
# for their gradient; a GPU needs many pixels at once.
_MOST_BYTES = {"cpu": 512 * 1024, "cuda": 256 * 1024 * 1024}


def implementations(namespace: str) -> dict[str, Callable[..., Any]]:
    """The two operators on `dynamic_conv` and its gradients in a namespace, by name."""

    def forward(
        x: Tensor,  # [B, C, H, W]
        spatial: Tensor,  # [B, kh, kw, Ho, Wo]
        channel: Tensor,  # [B, C, kh, kw]
        *window: Any,
    ) -> Tensor:  # [B, C, Ho, Wo]
        convolve = getattr(torch.ops, namespace).dynamic_conv.default
        y = x.new_empty(*x.shape[:2], *spatial.shape[3:])
        for samples, channels in _parts(spatial, channel):
            kernels = _kernels(spatial[samples], channel[samples, channels])
            y[samples, channels] = convolve(x[samples, channels], kernels, *window)
        return y

    def backward(
        grad: Tensor,  # [B, C, Ho, Wo]
        x: Tensor,
        spatial: Tensor,
        channel: Tensor,
        *window: Any,
    ) -> list[Tensor]:  # of x, spatial, channel
        operators = getattr(torch.ops, namespace)
        grad_input = operators.dynamic_conv_grad_input.default
        grad_kernels = operators.dynamic_conv_grad_weight.default
        precise = torch.promote_types(x.dtype, torch.float32)
        x_grad, channel_grad = x.new_empty(x.shape), channel.new_empty(channel.shape)
        spatial_grad = spatial.new_zeros(spatial.shape, dtype=precise)
        size, taps = x.shape[2:], channel.shape[2:]
        for samples, channels in _parts(spatial, channel):
            near, own = spatial[samples], channel[samples, channels]
            image, sent = x[samples, channels], grad[samples, channels]
            x_grad[samples, channels] = grad_input(sent, _kernels(near, own), size, *window)
            kernels = grad_kernels(sent, image, own.shape[1], taps, *window).to(precise)
            own = own.to(precise)[..., None, None]
            spatial_grad[samples] += (kernels * own).sum(1)
            channel_grad[samples, channels] = kernels.mul_(near[:, None]).sum((4, 5))
        return [x_grad, spatial_grad.to(spatial.dtype), channel_grad]

    return {"decoupled_conv2d": forward, "decoupled_conv2d_backward": backward}


def _kernels(spatial: Tensor, channel: Tensor) -> Tensor:
    """[B, C, kh, kw, Ho, Wo]"""
    return spatial[:, None] * channel[..., None, None]


def _parts(spatial: Tensor, channel: Tensor) -> Iterator[tuple[slice, slice]]:
    """Samples and channels whose kernels fit; every part of more samples has all channels."""
    batch, channels = channel.shape[:2]
    plane = spatial[0].numel() * spatial.element_size() if batch else 0
    fit = max(_MOST_BYTES.get(spatial.device.type, 0) // max(plane, 1), 1)
    at_once = min(fit, channels)
    samples = max(fit // max(channels, 1), 1)
    for sample in range(0, batch, samples):
        for first in range(0, channels, max(at_once, 1)):
            yield slice(sample, sample + samples), slice(first, first + at_once)
