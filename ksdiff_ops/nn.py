"""Layers of published networks, on the operators of this package.

Each names its source and says what of it stands where; `backend` chooses what runs the operator,
as the argument of that name does. What the sources leave to the network around, such as
normalisation and activation after the layer, is left out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksdiff_ops import arguments
from ksdiff_ops.adaptive_conv2d import adaptive_conv2d
from ksdiff_ops.arguments import Pair
from ksdiff_ops.composed import carafe, separable_dynamic_conv
from ksdiff_ops.dynamic_conv import dynamic_conv


def _normalised(filters: Tensor, axis: int) -> Tensor:
    """Filters of mean 0 and standard deviation 1 over their taps."""
    centred = filters - filters.mean(axis, keepdim=True)
    return centred / (centred.square().mean(axis, keepdim=True) + 1e-5).sqrt()


class DDF(nn.Module):
    """Decoupled dynamic filter (Zhou et al., 2021), in place of a depthwise convolution.

    The kernel of channel c at pixel p is spatial[i, p] * channel[c, i], both predicted from the
    input and normalised over the taps. [B, C, H, W] -> [B, C, Ho, Wo].
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Pair = 3,
        *,
        stride: int | Pair = 1,
        squeeze: float = 0.25,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = arguments.pair("kernel_size", kernel_size, 1)
        self.stride = arguments.pair("stride", stride, 1)
        self.backend = backend
        taps = self.kernel_size[0] * self.kernel_size[1]
        hidden = max(1, int(channels * squeeze))
        self.spatial = nn.Conv2d(channels, taps, 1, stride=self.stride)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels * taps, 1),
        )
        self.spatial_gain = nn.Parameter(torch.ones(taps))
        self.spatial_bias = nn.Parameter(torch.zeros(taps))
        self.channel_gain = nn.Parameter(torch.full((taps,), (2 / taps) ** 0.5))
        self.channel_bias = nn.Parameter(torch.zeros(taps))

    def filters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spatial [B, kh, kw, Ho, Wo] and channel filters [B, C, 1, kh, kw]."""
        spatial = _normalised(self.spatial(x), 1) * self.spatial_gain[:, None, None]
        spatial = spatial + self.spatial_bias[:, None, None]
        channel = _normalised(self.channel(x).flatten(2).unflatten(1, (x.shape[1], -1)), 2)
        channel = channel.squeeze(3) * self.channel_gain + self.channel_bias
        return (
            spatial.unflatten(1, self.kernel_size),
            channel.unflatten(2, (1, *self.kernel_size)),
        )

    def forward(self, x: Tensor) -> Tensor:
        spatial, channel = self.filters(x)
        return adaptive_conv2d(
            x,
            spatial,
            channel,
            stride=self.stride,
            padding="symmetric",
            groups=x.shape[1],
            backend=self.backend,
        )


class Involution(nn.Module):
    """Involution (Li et al., 2021): kernels predicted at every pixel, shared by a group's channels.

    [B, C, H, W] -> [B, C, Ho, Wo]. With a stride, kernels are predicted from averaged pixels and
    the padding is symmetric, as in the source.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 7,
        *,
        stride: int = 1,
        group_channels: int = 16,
        reduction: int = 4,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        if channels % group_channels != 0:
            raise ValueError(
                f"group_channels: expected a divisor of {channels} channels, got {group_channels}"
            )
        self.groups = channels // group_channels
        self.kernel_size = arguments.count("kernel_size", kernel_size)
        self.stride = arguments.count("stride", stride)
        self.backend = backend
        hidden = max(1, channels // reduction)
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU()
        )
        self.span = nn.Conv2d(hidden, self.groups * self.kernel_size**2, 1)

    def kernels(self, x: Tensor) -> Tensor:
        """[B, G, k, k, Ho, Wo]."""
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        planes = self.span(self.reduce(x))
        return planes.unflatten(1, (self.groups, self.kernel_size, self.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        return dynamic_conv(
            x, self.kernels(x), stride=self.stride, padding="symmetric", backend=self.backend
        )


class CARAFE(nn.Module):
    """Content-aware enlargement (Wang et al., 2019). [B, C, H, W] -> [B, C, s * H, s * W]."""

    def __init__(
        self,
        channels: int,
        scale: int = 2,
        kernel_size: int = 5,
        *,
        encoder_size: int = 3,
        hidden: int = 64,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.scale = arguments.count("scale", scale)
        self.kernel_size = arguments.count("kernel_size", kernel_size)
        self.backend = backend
        self.compress = nn.Conv2d(channels, hidden, 1)
        self.encode = nn.Conv2d(
            hidden, (self.scale * self.kernel_size) ** 2, encoder_size, padding="same"
        )

    def kernels(self, x: Tensor) -> Tensor:
        """[B, 1, k, k, s * H, s * W], positive, of sum 1 over the taps."""
        logits = F.pixel_shuffle(self.encode(self.compress(x)), self.scale)
        return logits.softmax(1).unflatten(1, (1, self.kernel_size, self.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        return carafe(x, self.kernels(x), self.scale, backend=self.backend)


class FAC(nn.Module):
    """Filter-adaptive convolution (Zhou et al., STFAN, 2019): a kernel for every channel and pixel.

    x [B, C, H, W], filters [B, C * k * k, H, W] -> [B, C, H, W]; the image's edge is repeated, as
    in the source.
    """

    def __init__(self, kernel_size: int = 5, *, backend: str | None = None) -> None:
        super().__init__()
        self.kernel_size = arguments.count("kernel_size", kernel_size)
        self.backend = backend

    def forward(self, x: Tensor, filters: Tensor) -> Tensor:
        k = self.kernel_size
        planes = filters.unflatten(1, (x.shape[1], k, k))
        edge = F.pad(x, (k // 2, (k - 1) // 2) * 2, mode="replicate")
        return dynamic_conv(edge, planes, padding=0, backend=self.backend)


class LAGConv(nn.Module):
    """Local-context adaptive convolution (Jin et al., 2022), with its global harmonic bias.

    [B, Cin, H, W] -> [B, Cout, H, W].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = arguments.count("kernel_size", kernel_size)
        self.backend = backend
        taps = self.kernel_size**2
        self.weight = nn.Parameter(
            nn.Conv2d(in_channels, out_channels, self.kernel_size).weight.detach()
        )
        self.attention = nn.Sequential(
            nn.Conv2d(in_channels, taps, self.kernel_size, padding="same"),
            nn.ReLU(),
            nn.Conv2d(taps, taps, 1),
            nn.ReLU(),
            nn.Conv2d(taps, taps, 1),
            nn.Sigmoid(),
        )
        self.bias = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, out_channels, 1),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 1),
            nn.Flatten(),
        )

    def taps(self, x: Tensor) -> Tensor:
        """The factor of every tap at every pixel, [B, k, k, H, W]."""
        return self.attention(x).unflatten(1, (self.kernel_size, self.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        return adaptive_conv2d(x, self.taps(x), self.weight, self.bias(x), backend=self.backend)


class PAC(nn.Module):
    """Pixel-adaptive convolution (Su et al., 2019): taps weighted by how like a guide's pixels are.

    attention[i, p] = exp(-|f[p] - f[p + d(i)]|^2 / 2) for the guide f.
    x [B, Cin, H, W], guide [B, F, H, W] -> [B, Cout, H, W].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = arguments.count("kernel_size", kernel_size)
        self.dilation = arguments.count("dilation", dilation)
        self.groups = arguments.count("groups", groups)
        self.backend = backend
        like = nn.Conv2d(in_channels, out_channels, self.kernel_size, groups=groups, bias=bias)
        self.weight, self.bias = like.weight, like.bias

    def attention(self, guide: Tensor) -> Tensor:
        """[B, k, k, H, W]; outside the image the guide is zero, as in the source."""
        k, height, width = self.kernel_size, *guide.shape[2:]
        reach = self.dilation * (k - 1)
        before = reach // 2
        padded = F.pad(guide, (before, reach - before) * 2)
        steps = range(0, reach + 1, self.dilation)
        likeness = [
            (-0.5 * (padded[..., i : i + height, j : j + width] - guide).square().sum(1)).exp()
            for i in steps
            for j in steps
        ]
        return torch.stack(likeness, 1).unflatten(1, (k, k))

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        return adaptive_conv2d(
            x,
            self.attention(guide),
            self.weight,
            self.bias,
            dilation=self.dilation,
            groups=self.groups,
            backend=self.backend,
        )


class KPNHead(nn.Module):
    """Head of a kernel-predicting network (Bako et al., 2017; Mildenhall et al., 2018).

    features [B, F, H, W], noisy [B, C, H, W] -> [B, C, H, W], each pixel a mean of its neighbours
    with weights predicted from the features.
    """

    def __init__(self, features: int, kernel_size: int = 5, *, backend: str | None = None) -> None:
        super().__init__()
        self.kernel_size = arguments.count("kernel_size", kernel_size)
        self.backend = backend
        self.predict = nn.Conv2d(features, self.kernel_size**2, 1)

    def forward(self, features: Tensor, noisy: Tensor) -> Tensor:
        k = self.kernel_size
        weights = self.predict(features).softmax(1).unflatten(1, (1, k, k))
        return dynamic_conv(noisy, weights, backend=self.backend)


class SeparableHead(nn.Module):
    """Adaptive separable convolution (Niklaus et al., 2017), its kernels predicted from features.

    features [B, F, H, W], frame [B, C, H, W] -> [B, C, H, W]; the frame's edge is repeated, as in
    the source.
    """

    def __init__(self, features: int, kernel_size: int = 51, *, backend: str | None = None) -> None:
        super().__init__()
        self.kernel_size = arguments.count("kernel_size", kernel_size)
        self.backend = backend
        self.vertical = nn.Conv2d(features, self.kernel_size, 3, padding=1)
        self.horizontal = nn.Conv2d(features, self.kernel_size, 3, padding=1)

    def forward(self, features: Tensor, frame: Tensor) -> Tensor:
        before, after = (self.kernel_size - 1) // 2, self.kernel_size // 2
        margins = (before, after, before, after)
        vertical, horizontal = self.vertical(features)[:, None], self.horizontal(features)[:, None]
        edge = F.pad(frame, margins, mode="replicate")
        y = separable_dynamic_conv(
            edge, F.pad(vertical, margins), F.pad(horizontal, margins), backend=self.backend
        )
        return y[..., before : before + frame.shape[2], before : before + frame.shape[3]]
