"""What the implicit matrix products share: tiles of an image's patches, and their precision.

A dense convolution is a matrix product of kernels [rows, depth] with patches [depth, pixels] that
are never written to memory: a program reads the tile of patches that it needs next from the image
itself, masked where a tap leaves it. Pixels are counted through the rows of the output.

Loops have constant bounds: unlike `while` loops they can be pipelined, and a network has few
numbers of channels.
"""

from typing import Literal, TypedDict

import torch
import triton
import triton.language as tl
from torch import Tensor

from ksdiff_ops.arguments import Window
from ksdiff_ops.triton.launch import interprets
from ksdiff_ops.triton.walk import Pair

STAGES = 2  # tiles in flight in each loop
_VECTOR_BYTES = tl.constexpr(16)  # of one load
_WHOLE = 16  # channels that fill a vector of any type, and the depth of a tensor core


class Precision(TypedDict):
    """Constants of a kernel that multiplies matrices."""

    OPERANDS: tl.dtype
    PRECISION: Literal["ieee", "tf32"]


@triton.jit
def tile_pixels(tile, width, PIXELS: tl.constexpr):
    """The pixels of a tile, counted through the image, and their rows and columns.

    A tile begins at tile * PIXELS, which can exceed 32 bits; its row and column are found by long
    division, one bit of PIXELS at a time, for a division by 64 bits is a call.
    """
    row, column = tile // width, (tile % width).to(tl.uint32)
    for bit in tl.static_range(16):
        if 2**bit < PIXELS:
            column *= 2
            over = column >= width
            row = 2 * row + over
            column = tl.where(over, column - width, column)
    along = column.to(tl.int32) + tl.arange(0, PIXELS)
    down = along // width
    pixel = tile.to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    return pixel, row + down, along - down * width


@triton.jit
def inside_image(y, x, height, width):
    return (y >= 0) & (y < height) & (x >= 0) & (x < width)


@triton.jit
def at(pointer, offset, VECTOR: tl.constexpr):
    """The pointer moved, known to be one to whole vectors where such are read."""
    if VECTOR > 1:
        return tl.multiple_of(pointer + offset, _VECTOR_BYTES)
    return pointer + offset


@triton.jit
def channel_and_tap(k, channels, taps, VECTOR: tl.constexpr):
    """Of places in kernels [channels, taps], or [taps, channels] where vectors are read."""
    if VECTOR > 1:
        return k % channels, k // channels
    return k // taps, k % taps


@triton.jit
def image_places(channel, pixel, channels, plane, VECTOR: tl.constexpr):
    """[channels, pixels]: where an image has them, in channels_last where vectors are read."""
    if VECTOR > 1:
        return channel[:, None] + (pixel * channels)[None, :]
    return (channel * plane)[:, None] + pixel[None, :]


@triton.jit
def read_patches(
    image, row, column, down, right, channel, present,
    height, width, channel_stride, column_stride, divide_h, divide_w,
    DIVIDED: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """[depth, pixels]: for each of the depth a channel and a step down and right, for each pixel
    a first row and column; zeros outside the image and where not `present`.
    """
    column_stride = column_stride // VECTOR * VECTOR
    y = row[None, :] + down[:, None]
    x = column[None, :] + right[:, None]
    mask = present & inside_image(y, x, height * divide_h, width * divide_w)
    plane = channel.to(tl.int64)
    if VECTOR == 1:
        plane *= channel_stride
    if DIVIDED:
        mask = mask & (y % divide_h == 0) & (x % divide_w == 0)
        place = (y // divide_h).to(tl.int64) * width + x // divide_w
        offset = plane[:, None] + place * column_stride
    else:
        # One sum for each element, of a vector along either axis.
        along = plane + (down.to(tl.int64) * width + right) * column_stride
        across = (row.to(tl.int64) * width + column) * column_stride
        offset = along[:, None] + across[None, :]
    return tl.load(image + offset, mask=mask, other=0.0)


@triton.jit
def multiply(a, b, sums, OPERANDS: tl.constexpr, PRECISION: tl.constexpr):
    """`sums` plus the matrix product."""
    return tl.dot(
        a.to(OPERANDS), b.to(OPERANDS), sums, input_precision=PRECISION, out_dtype=sums.dtype
    )


def precision(dtype: torch.dtype, widen: bool = False) -> Precision:
    """The type of the products' operands, and how float32 is multiplied: as PyTorch's own
    convolutions do it on a GPU, by TensorFloat-32 unless that is switched off.

    With `widen`, halves are multiplied as TensorFloat-32, which holds each of them exactly and
    has room for the product of two.
    """
    if dtype == torch.float64:
        return {"OPERANDS": tl.float64, "PRECISION": "ieee"}
    if dtype == torch.float32:
        convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
        allowed = convolutions.fp32_precision == "tf32"
        return {"OPERANDS": tl.float32, "PRECISION": "tf32" if allowed else "ieee"}
    # The interpreter would multiply bfloat16 as the integers in which it keeps them.
    if widen or interprets():
        return {"OPERANDS": tl.float32, "PRECISION": "tf32"}
    return {"OPERANDS": getattr(tl, str(dtype).removeprefix("torch.")), "PRECISION": "tf32"}


def is_exact(numbers: Precision) -> bool:
    """Whether products are made without tensor cores."""
    return numbers["PRECISION"] == "ieee"


def operand_size(numbers: Precision) -> int:
    return numbers["OPERANDS"].primitive_bitwidth // 8


def vector_length(dtype: torch.dtype, *channels: int) -> int:
    """How many neighbouring channels one load reads: 16 bytes, or one where these many channels
    do not fill whole vectors.

    Neighbouring pixels of a shifted image begin at any address. Neighbouring channels in
    channels_last begin at whole vectors, whatever the shift.
    """
    whole = all(number % _WHOLE == 0 for number in channels)
    return _VECTOR_BYTES.value // dtype.itemsize if whole else 1


def for_vectors(image: Tensor) -> Tensor:
    """The image [B, C, H, W] in channels_last, at an address that vectors can be read from."""
    image = image.contiguous(memory_format=torch.channels_last)
    return image if image.data_ptr() % _VECTOR_BYTES.value == 0 else image.clone()


def walk_arguments(window: Window, backwards: bool = False) -> dict[str, int]:
    """How output pixels and taps lead to the image: (p * step - pad + k * dilation) / divide."""
    stride, padding, dilation = window
    if backwards:
        return _pairs(
            step=(1, 1),
            pad=(-padding[0], -padding[1]),
            dilation=(-dilation[0], -dilation[1]),
            divide=stride,
        )
    return _pairs(step=stride, pad=padding, dilation=dilation, divide=(1, 1))


def image_arguments(name: str, image: Tensor) -> dict[str, int]:
    """Size and strides of an image, contiguous or channels_last."""
    channels, height, width = image.shape[1:]
    channel, column = (height * width, 1) if image.is_contiguous() else (1, channels)
    return {
        f"{name}_h": height,
        f"{name}_w": width,
        f"{name}_channel": channel,
        f"{name}_column": column,
    }


def _pairs(**pairs: Pair) -> dict[str, int]:
    return {f"{name}_{'hw'[axis]}": pair[axis] for name, pair in pairs.items() for axis in (0, 1)}
