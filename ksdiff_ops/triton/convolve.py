"""The two loops that all image operators share: convolve channels, correlate channels.

Loops with bounds known at run time are `while` loops: they compile to the same instructions, and
Triton's interpreter cannot take such bounds for `range` under NumPy 2.4 and newer.
"""

# Kernels add to tuples by concatenation, the one form that Triton compiles.
# ruff: noqa: RUF005

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from ksdiff_ops.arguments import Window
from ksdiff_ops.triton import plan
from ksdiff_ops.triton.launch import Launch, kernel
from ksdiff_ops.triton.walk import (
    Pair,
    Walk,
    accumulator,
    get,
    read_column,
    read_pixels,
    source_index,
    tile_inside,
    tile_pixels,
    write_pixels,
)


@triton.jit
def add_taps(
    sums, weights, plane, row, column, height, width, pad_h, pad_w,
    WALK: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """`sums` of a thread's pixels plus weight times source over all taps of the walk.

    Weights are ordered by tap column, pixel, tap row.
    """
    kernel_h: tl.constexpr = get(WALK, "kernel", 0)
    rows: tl.constexpr = get(WALK, "rows")
    for kx in tl.static_range(get(WALK, "kernel", 1)):
        values = read_column(plane, row, column, kx, height, width, pad_h, pad_w, WALK, MASKED)
        added = ()
        for r in tl.static_range(rows):
            total = sums[r]
            for ky in tl.static_range(kernel_h):
                weight = weights[(kx * rows + r) * kernel_h + ky]
                total += weight * values[source_index(WALK, r, ky)]
            added = added + (total,)
        sums = added
    return sums


@triton.jit
def convolve_channels(
    source, weights, out, first, last, row, column,
    source_h, source_w, out_h, out_w, pad_h, pad_w,
    WALK: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Convolves channels `first` to `last` with weights that stay in registers."""
    zero = tl.zeros((get(WALK, "threads"),), accumulator(source.dtype.element_ty))
    channel = first
    while channel < last:
        sums = add_taps(
            (zero,) * get(WALK, "rows"), weights, source + channel * source_h * source_w,
            row, column, source_h, source_w, pad_h, pad_w, WALK, MASKED,
        )  # fmt: skip
        write_pixels(out + channel * out_h * out_w, sums, row, column, out_h, out_w, WALK)
        channel += 1


@kernel
def convolve(
    source_ptr, a_ptr, b_ptr, out_ptr, terms, channels, share, shares, tiles_down, tiles_across,
    source_h, source_w, out_h, out_w, pad_h, pad_w, taps, taps_across,
    WEIGHTS: tl.constexpr, WALK: tl.constexpr, SHIFTED: tl.constexpr, HELD: tl.constexpr,
    BATCH: tl.constexpr,
):  # fmt: skip
    """Convolves `share` channels of one group on one tile.

    WEIGHTS reads or makes the kernels from `a` and `b`: at a thread's own pixels, or, where
    SHIFTED, at the source pixels that each tap reads. HELD kernels are made once and stay in
    registers for all channels; larger ones are made tap by tap for BATCH channels at a time.
    """
    program = tl.program_id(0)
    part = program % shares
    tile = program // shares
    tile_column = tile % tiles_across
    tile_row = tile // tiles_across % tiles_down
    group = (tile // tiles_across // tiles_down).to(tl.int64)
    row, column = tile_pixels(tile_row, tile_column, WALK)
    first = group * channels + part * share
    last = tl.minimum(first + share, (group + 1) * channels)
    rows: tl.constexpr = get(WALK, "rows")
    if HELD:
        weights = WEIGHTS(
            a_ptr, b_ptr, terms, group, taps, 0, row, column,
            source_h, source_w, out_h, out_w, pad_h, pad_w, WALK, SHIFTED,
        )  # fmt: skip
        if tile_inside(tile_row, tile_column, source_h, source_w, pad_h, pad_w, WALK):
            convolve_channels(
                source_ptr, weights, out_ptr, first, last, row, column,
                source_h, source_w, out_h, out_w, pad_h, pad_w, WALK, False,
            )  # fmt: skip
        else:
            convolve_channels(
                source_ptr, weights, out_ptr, first, last, row, column,
                source_h, source_w, out_h, out_w, pad_h, pad_w, WALK, True,
            )  # fmt: skip
    else:
        zero = tl.zeros((get(WALK, "threads"),), accumulator(source_ptr.dtype.element_ty))
        while first < last:
            sums = (zero,) * (rows * BATCH)
            tap = 0
            while tap < taps:
                up = pad_h - tap // taps_across * get(WALK, "dilation", 0)
                left = pad_w - tap % taps_across * get(WALK, "dilation", 1)
                weights = WEIGHTS(
                    a_ptr, b_ptr, terms, group, taps, tap, row, column,
                    source_h, source_w, out_h, out_w, up, left, WALK, SHIFTED,
                )  # fmt: skip
                added = ()
                for i in tl.static_range(BATCH):
                    # Beyond the share a channel is read again, and not written below.
                    channel = tl.minimum(first + i, last - 1)
                    added = added + add_taps(
                        sums[i * rows : (i + 1) * rows], weights,
                        source_ptr + channel * source_h * source_w,
                        row, column, source_h, source_w, up, left, WALK, True,
                    )  # fmt: skip
                sums = added
                tap += 1
            for i in tl.static_range(BATCH):
                if first + i < last:
                    plane = out_ptr + (first + i) * out_h * out_w
                    values = sums[i * rows : (i + 1) * rows]
                    write_pixels(plane, values, row, column, out_h, out_w, WALK)
            first += BATCH


@triton.jit
def correlate_channels(
    grad, source, group, channels, row, column,
    source_h, source_w, out_h, out_w, pad_h, pad_w,
    WALK: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    kernel_h: tl.constexpr = get(WALK, "kernel", 0)
    kernel_w: tl.constexpr = get(WALK, "kernel", 1)
    rows: tl.constexpr = get(WALK, "rows")
    zero = tl.zeros((get(WALK, "threads"),), accumulator(source.dtype.element_ty))
    sums = (zero,) * (kernel_w * rows * kernel_h)
    channel = group * channels
    while channel < (group + 1) * channels:
        grads = read_pixels(grad + channel * out_h * out_w, row, column, out_h, out_w, WALK)
        plane = source + channel * source_h * source_w
        added = ()
        for kx in tl.static_range(kernel_w):
            values = read_column(
                plane, row, column, kx, source_h, source_w, pad_h, pad_w, WALK, MASKED
            )
            for r in tl.static_range(rows):
                for ky in tl.static_range(kernel_h):
                    total = sums[(kx * rows + r) * kernel_h + ky]
                    added = added + (total + grads[r] * values[source_index(WALK, r, ky)],)
        sums = added
        channel += 1
    return sums


@triton.jit
def correlate(
    grad, source, group, channels, tile_row, tile_column, row, column,
    source_h, source_w, out_h, out_w, pad_h, pad_w, WALK: tl.constexpr,
):  # fmt: skip
    """Gradients of a thread's kernels: output gradient times source, summed over the channels.

    Ordered by tap column, pixel, tap row.
    """
    if tile_inside(tile_row, tile_column, source_h, source_w, pad_h, pad_w, WALK):
        sums = correlate_channels(
            grad, source, group, channels, row, column,
            source_h, source_w, out_h, out_w, pad_h, pad_w, WALK, False,
        )  # fmt: skip
    else:
        sums = correlate_channels(
            grad, source, group, channels, row, column,
            source_h, source_w, out_h, out_w, pad_h, pad_w, WALK, True,
        )  # fmt: skip
    return sums


def plane_sizes(source: Tensor, out: Tensor, padding: Pair) -> dict[str, int]:
    return {
        "source_h": source.shape[-2],
        "source_w": source.shape[-1],
        "out_h": out.shape[-2],
        "out_w": out.shape[-1],
        "pad_h": padding[0],
        "pad_w": padding[1],
    }


def convolve_launch(
    source: Tensor,  # [B, C, ., .]
    out: Tensor,  # [B, C, ., .]
    window: Window,
    taps: Pair,
    groups: int,
    weights: Any,
    operands: tuple[Tensor, Tensor],
    terms: int = 0,
    backwards: bool = False,
) -> Launch:
    """Convolves `source` with kernels that `weights` makes of `operands` and `terms`.

    With `backwards`, `source` is a gradient of the convolution's output and `out` becomes that of
    its image.
    """
    stride, padding, dilation = window
    if backwards:
        padding = (-padding[0], -padding[1])
        steps = {"step": (1, 1), "dilation": (-dilation[0], -dilation[1]), "divide": stride}
    else:
        steps = {"step": stride, "dilation": dilation, "divide": (1, 1)}
    planes = source.shape[0] * groups
    channels = source.shape[1] // groups
    height, width = out.shape[-2:]
    tile = plan.convolution(taps, planes, channels, height, width, source.element_size())
    block = taps if tile.held else (1, 1)
    walk = Walk(kernel=block, **steps, rows=tile.rows, across=tile.across, threads=plan.THREADS)
    down, across = plan.tiles(walk, height, width)
    return Launch(
        convolve,
        planes * down * across * tile.shares,
        {
            "source_ptr": source,
            "a_ptr": operands[0],
            "b_ptr": operands[1],
            "out_ptr": out,
            "terms": terms,
            "channels": channels,
            "share": plan.ceil_div(channels, tile.shares),
            "shares": tile.shares,
            "tiles_down": down,
            "tiles_across": across,
            **plane_sizes(source, out, padding),
            "taps": taps[0] * taps[1],
            "taps_across": taps[1],
        },
        {
            "WEIGHTS": weights,
            "WALK": walk,
            "SHIFTED": backwards,
            "HELD": tile.held,
            "BATCH": tile.batch,
        },
    )


def correlation_walk(
    window: Window, tile: plan.Correlation | plan.Reduction, threads: int = plan.THREADS
) -> Walk:
    return Walk(
        kernel=tile.block,
        step=window.stride,
        dilation=window.dilation,
        divide=(1, 1),
        rows=tile.rows,
        across=tile.across,
        threads=threads,
    )
