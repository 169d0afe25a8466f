"""Per-pixel dynamic convolution and its two gradients.

Bytes a pixel (s: size of an element): every primitive moves s (2 C + G kh kw), the floor: kernels
are read once for all channels of their group, the image once from memory and from the cache for
every other tap, and nothing is written twice.
"""

# Kernels add to tuples by concatenation, the one form that Triton compiles.
# ruff: noqa: RUF005

import triton
import triton.language as tl
from torch import Tensor

from ksdiff_ops.arguments import Window, as_pair, require_groups
from ksdiff_ops.triton import plan
from ksdiff_ops.triton.checks import require
from ksdiff_ops.triton.convolve import (
    convolve_launch,
    correlate,
    correlation_walk,
    plane_sizes,
)
from ksdiff_ops.triton.launch import Launch, kernel
from ksdiff_ops.triton.walk import (
    Pair,
    accumulator,
    column_offsets,
    get,
    source_index,
    tile_pixels,
    write_pixels,
)

IMAGE = "[B, C, H, W]"
OUTPUT = "[B, C, Ho, Wo]"
KERNELS = "[B, G, kh, kw, Ho, Wo]"


@triton.jit
def read_weights(
    weight, _, terms, group, taps, first_tap, row, column,
    source_h, source_w, out_h, out_w, pad_h, pad_w,
    WALK: tl.constexpr, SHIFTED: tl.constexpr,
):  # fmt: skip
    """Kernels of a thread's pixels, ordered by tap column, pixel, tap row."""
    kernel_h: tl.constexpr = get(WALK, "kernel", 0)
    kernel_w: tl.constexpr = get(WALK, "kernel", 1)
    values = ()
    for kx in tl.static_range(kernel_w):
        if SHIFTED:
            offsets, masks = column_offsets(row, column, kx, source_h, source_w, pad_h, pad_w, WALK)
        for r in tl.static_range(get(WALK, "rows")):
            for ky in tl.static_range(kernel_h):
                tap = group * taps + first_tap + ky * kernel_w + kx
                if SHIFTED:
                    place = weight + tap * source_h * source_w
                    place += offsets[source_index(WALK, r, ky)]
                    mask = masks[source_index(WALK, r, ky)]
                else:
                    place = weight + tap * out_h * out_w
                    place += (row + r).to(tl.int64) * out_w + column
                    mask = (row + r < out_h) & (column < out_w)
                value = tl.load(place, mask=mask, other=0.0)
                values = values + (value.to(accumulator(weight.dtype.element_ty)),)
    return values


@kernel
def grad_weight_kernel(
    grad_ptr, source_ptr, out_ptr, channels, tiles_down, tiles_across,
    source_h, source_w, out_h, out_w, pad_h, pad_w, blocks_down, blocks_across,
    WALK: tl.constexpr,
):  # fmt: skip
    """Gradients of one block of the taps of one group on one tile."""
    kernel_h: tl.constexpr = get(WALK, "kernel", 0)
    kernel_w: tl.constexpr = get(WALK, "kernel", 1)
    rows: tl.constexpr = get(WALK, "rows")
    program = tl.program_id(0)
    first_kx = program % blocks_across * kernel_w
    first_ky = program // blocks_across % blocks_down * kernel_h
    tile = program // blocks_across // blocks_down
    tile_column = tile % tiles_across
    tile_row = tile // tiles_across % tiles_down
    group = (tile // tiles_across // tiles_down).to(tl.int64)
    row, column = tile_pixels(tile_row, tile_column, WALK)
    up = pad_h - first_ky * get(WALK, "dilation", 0)
    left = pad_w - first_kx * get(WALK, "dilation", 1)
    sums = correlate(
        grad_ptr, source_ptr, group, channels, tile_row, tile_column, row, column,
        source_h, source_w, out_h, out_w, up, left, WALK,
    )  # fmt: skip
    for kx in tl.static_range(kernel_w):
        for ky in tl.static_range(kernel_h):
            tap_row = group * blocks_down * kernel_h + first_ky + ky
            tap = tap_row * blocks_across * kernel_w + first_kx + kx
            values = ()
            for r in tl.static_range(rows):
                values = values + (sums[(kx * rows + r) * kernel_h + ky],)
            write_pixels(out_ptr + tap * out_h * out_w, values, row, column, out_h, out_w, WALK)


def forward_launch(x: Tensor, weight: Tensor, out: Tensor, window: Window) -> Launch:
    return convolve_launch(
        x, out, window, as_pair(weight.shape[2:4]), weight.shape[1], read_weights, (weight, weight)
    )


def grad_input_launch(grad: Tensor, weight: Tensor, out: Tensor, window: Window) -> Launch:
    return convolve_launch(
        grad, out, window, as_pair(weight.shape[2:4]), weight.shape[1], read_weights,
        (weight, weight), backwards=True,
    )  # fmt: skip


def grad_weight_launch(grad: Tensor, x: Tensor, out: Tensor, window: Window) -> Launch:
    batch, groups, kh, kw, height, width = out.shape
    tile = plan.correlation((kh, kw), batch * groups, height, width, x.element_size())
    walk = correlation_walk(window, tile)
    down, across = plan.tiles(walk, height, width)
    blocks = kh // tile.block[0], kw // tile.block[1]
    return Launch(
        grad_weight_kernel,
        batch * groups * down * across * blocks[0] * blocks[1],
        {
            "grad_ptr": grad,
            "source_ptr": x,
            "out_ptr": out,
            "channels": x.shape[1] // groups,
            "tiles_down": down,
            "tiles_across": across,
            **plane_sizes(x, out, window.padding),
            "blocks_down": blocks[0],
            "blocks_across": blocks[1],
        },
        {"WALK": walk},
    )


def dynamic_conv(
    x: Tensor,  # [B, C, H, W]
    weight: Tensor,  # [B, G, kh, kw, Ho, Wo]
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:  # [B, C, Ho, Wo]
    require("x", x, IMAGE)
    require("weight", weight, KERNELS, (x.shape[0],), ("x", x))
    require_groups("weight", x.shape[1], weight.shape[1])
    out = x.new_empty((*x.shape[:2], *weight.shape[4:]))
    window = Window.of(stride, padding, dilation)
    forward_launch(x.contiguous(), weight.contiguous(), out, window).run()
    return out


def dynamic_conv_grad_input(
    grad: Tensor,  # [B, C, Ho, Wo]
    weight: Tensor,  # [B, G, kh, kw, Ho, Wo]
    size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:  # [B, C, H, W]
    require("grad", grad, OUTPUT)
    sizes = (grad.shape[0], None, None, None, *grad.shape[2:])
    require("weight", weight, KERNELS, sizes, ("grad", grad))
    require_groups("weight", grad.shape[1], weight.shape[1])
    out = grad.new_empty((*grad.shape[:2], *size))
    window = Window.of(stride, padding, dilation)
    grad_input_launch(grad.contiguous(), weight.contiguous(), out, window).run()
    return out


def dynamic_conv_grad_weight(
    grad: Tensor,  # [B, C, Ho, Wo]
    x: Tensor,  # [B, C, H, W]
    groups: int,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:  # [B, G, kh, kw, Ho, Wo]
    require("grad", grad, OUTPUT)
    require("x", x, IMAGE, grad.shape[:2], ("grad", grad))
    require_groups("groups", x.shape[1], groups)
    out = grad.new_empty((grad.shape[0], groups, *kernel, *grad.shape[2:]))
    window = Window.of(stride, padding, dilation)
    grad_weight_launch(grad.contiguous(), x.contiguous(), out, window).run()
    return out
