"""Small layers shared by the encoders and the fusion network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksdiff.images.piecewise import piecewise, row_blocks


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of x [B, C, H, W].

    Statistics of one pixel only: what a pixel becomes must not depend on the window it is in.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.of_last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def of_last(self, x: Tensor) -> Tensor:
        """Of x [..., C]."""
        return super().forward(x)


class ConvBlock(nn.Module):
    """Depthwise 3x3 then pointwise mixing, residual: x [B, C, H, W] -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = ChannelNorm(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(F.gelu(self.expand(self.norm(self.depthwise(x)))))


class PatchConv2d(nn.Conv2d):
    """A convolution of F.pixel_unshuffle(x, side), whose result is never written.

    x [B, C, H, W] -> [B, C_out, H / side, W / side], channels_last. ``weight``
    [C_out, side^2 C, k, k] is that of a layer on the patches, padding keeps the size; computed is
    the equal convolution of x itself with kernels of side k and stride ``side``.
    """

    def __init__(self, channels: int, out_channels: int, side: int, kernel_size: int = 1) -> None:
        super().__init__(side**2 * channels, out_channels, kernel_size, padding="same")
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        side = self.side
        taps = self.weight.unflatten(1, (-1, side, side))  # [C_out, C, side, side, k, k]
        kernel = taps.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
        padding = side * (self.weight.shape[-1] // 2)
        x = x.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, kernel, self.bias, stride=side, padding=padding)


class UpConv2d(nn.ConvTranspose2d):
    """A transposed convolution to twice the size, added to an image of that size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 2, stride=2)

    def forward(self, x: Tensor, onto: Tensor) -> Tensor:  # type: ignore[override]
        """x [B, C_in, h, w], onto [B, C, 2h, 2w], which is overwritten where no gradients are
        recorded."""
        plain = x.is_contiguous(memory_format=torch.channels_last) and x.dtype == onto.dtype
        if not plain or not piecewise(x) or x.dtype != self.weight.dtype:
            return super().forward(x).add_(onto)
        assert self.bias is not None
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # [C_in, 4 C]
        bias = self.bias.repeat(4)
        width = x.shape[-1]
        for pixels, image in zip(x.permute(0, 2, 3, 1), onto.permute(0, 2, 3, 1), strict=True):
            rows = image.unflatten(1, (width, 2)).unflatten(0, (-1, 2))  # [h, 2, w, 2, C]
            for some in row_blocks(x):
                added = torch.addmm(bias, pixels[some].flatten(0, 1), weight)
                rows[some] += added.unflatten(0, (-1, width)).unflatten(2, (2, 2, -1)).movedim(2, 1)
        return onto


class UnpatchConv2d(nn.Conv2d):
    """F.pixel_shuffle of a pointwise convolution: x [B, C_in, h, w] -> [B, C, side h, side w].

    ``weight`` [side^2 C, C_in, 1, 1] is that of the convolution. The result is contiguous.
    """

    def __init__(self, in_channels: int, channels: int, side: int) -> None:
        super().__init__(in_channels, side**2 * channels, 1)
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return unpatch(x, self.weight.flatten(1)[None], self.bias[None], self.side)


def unpatch(x: Tensor, weight: Tensor, bias: Tensor, side: int) -> Tensor:
    """F.pixel_shuffle of pointwise convolutions: x [B, C_in, h, w] -> [B, C, side h, side w].

    ``weight`` [B or 1, side^2 C, C_in] and ``bias`` [B or 1, side^2 C]: one convolution for all
    samples or one for each. The result is contiguous.
    """
    if len(weight) == 1:
        if piecewise(x) and x.dtype == weight.dtype:
            return _unpatch_by_rows(x, weight[0], bias[0], side)
        return from_patches(F.conv2d(x, weight[0, :, :, None, None], bias[0]), side)
    planes = torch.baddbmm(bias[..., None], weight, x.flatten(2)).unflatten(-1, x.shape[-2:])
    return from_patches(planes, side)


def _unpatch_by_rows(x: Tensor, weight: Tensor, bias: Tensor, side: int) -> Tensor:
    batch, _, height, width = x.shape
    bias = bias[:, None]
    out = x.new_empty(batch, len(bias) // side**2, height, side, width, side)
    for image, pixels in zip(out, x, strict=True):
        for rows in row_blocks(x):
            planes = torch.addmm(bias, weight, pixels[:, rows].flatten(1))
            planes = planes.unflatten(1, (-1, width)).unflatten(0, (-1, side, side))
            for column in range(side):
                image[:, rows, ..., column] = planes[:, :, column].transpose(1, 2)
    return out.flatten(4).flatten(2, 3)


def from_patches(x: Tensor, side: int) -> Tensor:
    """x [B, side^2 C, h, w] -> [B, C, side h, side w], contiguous.

    The values of F.pixel_shuffle, which would keep channels_last, where what comes after wants
    whole planes.
    """
    tiles = x.unflatten(1, (-1, side, side))  # [B, C, side, side, h, w]
    return tiles.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
