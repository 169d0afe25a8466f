"""Per-pixel dynamic convolution with kernels mixed of a few, and its three gradients.

Bytes a pixel (s: size of an element): every primitive moves s (2 C + G R); the basis stays in the
cache. The mixed kernels, G kh kw numbers a pixel, exist in registers only.
"""

# Kernels add to tuples by concatenation, the one form that Triton compiles.
# ruff: noqa: RUF005

import triton
import triton.language as tl
from torch import Tensor

from ksdiff_ops.arguments import Window, as_pair, require_groups
from ksdiff_ops.triton import plan
from ksdiff_ops.triton.checks import require
from ksdiff_ops.triton.convolve import convolve_launch, correlate, correlation_walk, plane_sizes
from ksdiff_ops.triton.launch import Launch, kernel, sum_dtype
from ksdiff_ops.triton.walk import (
    Pair,
    accumulator,
    get,
    read_column,
    read_pixels,
    source_index,
    tile_pixels,
    write_pixels,
)

IMAGE = "[B, C, H, W]"
OUTPUT = "[B, C, Ho, Wo]"
COEFFICIENTS = "[B, G, R, Ho, Wo]"
BASIS = "[B, G, R, kh, kw]"


@triton.jit
def read_basis(basis, first, kernel_h: tl.constexpr, stride):
    """One column of a basis kernel: `kernel_h` numbers, the same for all threads."""
    values = ()
    for ky in tl.static_range(kernel_h):
        value = tl.load(basis + (first + ky * stride))
        values = values + (value.to(accumulator(basis.dtype.element_ty)),)
    return values


@triton.jit
def mix_weights(
    coeff, basis, terms, group, taps, first_tap, row, column,
    source_h, source_w, out_h, out_w, pad_h, pad_w,
    WALK: tl.constexpr, SHIFTED: tl.constexpr,
):  # fmt: skip
    """Kernels of a thread's pixels, ordered by tap column, pixel, tap row."""
    kernel_h: tl.constexpr = get(WALK, "kernel", 0)
    kernel_w: tl.constexpr = get(WALK, "kernel", 1)
    rows: tl.constexpr = get(WALK, "rows")
    zero = tl.zeros((get(WALK, "threads"),), accumulator(coeff.dtype.element_ty))
    weights = (zero,) * (kernel_w * rows * kernel_h)
    term = group * terms
    while term < (group + 1) * terms:
        if not SHIFTED:
            shares = read_pixels(coeff + term * out_h * out_w, row, column, out_h, out_w, WALK)
        mixed = ()
        for kx in tl.static_range(kernel_w):
            if SHIFTED:
                shifted = read_column(
                    coeff + term * source_h * source_w, row, column, kx,
                    source_h, source_w, pad_h, pad_w, WALK, True,
                )  # fmt: skip
            taps_down = read_basis(basis, term * taps + first_tap + kx, kernel_h, kernel_w)
            for r in tl.static_range(rows):
                for ky in tl.static_range(kernel_h):
                    share = shifted[source_index(WALK, r, ky)] if SHIFTED else shares[r]
                    weight = weights[(kx * rows + r) * kernel_h + ky]
                    mixed = mixed + (weight + share * taps_down[ky],)
        weights = mixed
        term += 1
    return weights


@kernel
def grad_coeff_kernel(
    grad_ptr, source_ptr, basis_ptr, out_ptr, terms, channels, tiles_down, tiles_across,
    source_h, source_w, out_h, out_w, pad_h, pad_w, blocks_down, blocks_across,
    WALK: tl.constexpr,
):  # fmt: skip
    """Gradients of the coefficients of one group on one tile.

    More than one block of taps is summed in memory, each thread at its own pixels.
    """
    kernel_h: tl.constexpr = get(WALK, "kernel", 0)
    kernel_w: tl.constexpr = get(WALK, "kernel", 1)
    rows: tl.constexpr = get(WALK, "rows")
    tile = tl.program_id(0)
    tile_column = tile % tiles_across
    tile_row = tile // tiles_across % tiles_down
    group = (tile // tiles_across // tiles_down).to(tl.int64)
    row, column = tile_pixels(tile_row, tile_column, WALK)
    taps_across = blocks_across * kernel_w
    taps = blocks_down * kernel_h * taps_across
    zero = tl.zeros((get(WALK, "threads"),), accumulator(source_ptr.dtype.element_ty))
    block = 0
    while block < blocks_down * blocks_across:
        first_ky = block // blocks_across * kernel_h
        first_kx = block % blocks_across * kernel_w
        up = pad_h - first_ky * get(WALK, "dilation", 0)
        left = pad_w - first_kx * get(WALK, "dilation", 1)
        sums = correlate(
            grad_ptr, source_ptr, group, channels, tile_row, tile_column, row, column,
            source_h, source_w, out_h, out_w, up, left, WALK,
        )  # fmt: skip
        term = group * terms
        while term < (group + 1) * terms:
            plane = out_ptr + term * out_h * out_w
            values = (zero,) * rows
            if block > 0:
                values = read_pixels(plane, row, column, out_h, out_w, WALK)
            for kx in tl.static_range(kernel_w):
                first = term * taps + first_ky * taps_across + first_kx + kx
                taps_down = read_basis(basis_ptr, first, kernel_h, taps_across)
                added = ()
                for r in tl.static_range(rows):
                    total = values[r]
                    for ky in tl.static_range(kernel_h):
                        total += taps_down[ky] * sums[(kx * rows + r) * kernel_h + ky]
                    added = added + (total,)
                values = added
            write_pixels(plane, values, row, column, out_h, out_w, WALK)
            term += 1
        block += 1


@kernel
def grad_basis_kernel(
    grad_ptr, source_ptr, coeff_ptr, partial_ptr, terms, channels, tiles_down, tiles_across,
    source_h, source_w, out_h, out_w, pad_h, pad_w, blocks_down, blocks_across,
    parts, strip, strips_total,
    WALK: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    """Gradients of TERMS basis kernels of one group, a block of their taps, over some tiles.

    Threads keep their sums for all `strip` tiles, and add up among themselves at the end: always
    in the same order. The host adds the strips.
    """
    kernel_h: tl.constexpr = get(WALK, "kernel", 0)
    kernel_w: tl.constexpr = get(WALK, "kernel", 1)
    rows: tl.constexpr = get(WALK, "rows")
    program = tl.program_id(0)
    part = program % parts
    first_kx = program // parts % blocks_across * kernel_w
    first_ky = program // parts // blocks_across % blocks_down * kernel_h
    place = program // parts // blocks_across // blocks_down
    tile = place % strips_total * strip
    group = (place // strips_total).to(tl.int64)
    last = tl.minimum(tile + strip, tiles_down * tiles_across)
    up = pad_h - first_ky * get(WALK, "dilation", 0)
    left = pad_w - first_kx * get(WALK, "dilation", 1)
    zero = tl.zeros((get(WALK, "threads"),), accumulator(source_ptr.dtype.element_ty))
    totals = (zero,) * (TERMS * kernel_w * kernel_h)
    while tile < last:
        # Tiles below one another, whose rows overlap.
        tile_row = tile % tiles_down
        tile_column = tile // tiles_down
        row, column = tile_pixels(tile_row, tile_column, WALK)
        sums = correlate(
            grad_ptr, source_ptr, group, channels, tile_row, tile_column, row, column,
            source_h, source_w, out_h, out_w, up, left, WALK,
        )  # fmt: skip
        added = ()
        for i in tl.static_range(TERMS):
            # Beyond the last term one is read again, and not written below.
            term = group * terms + tl.minimum(part * TERMS + i, terms - 1)
            shares = read_pixels(coeff_ptr + term * out_h * out_w, row, column, out_h, out_w, WALK)
            for kx in tl.static_range(kernel_w):
                for ky in tl.static_range(kernel_h):
                    total = totals[(i * kernel_w + kx) * kernel_h + ky]
                    for r in tl.static_range(rows):
                        # A pixel below or right of the output may have met NaN in the image.
                        inside = (row + r < out_h) & (column < out_w)
                        total += shares[r] * tl.where(
                            inside, sums[(kx * rows + r) * kernel_h + ky], 0.0
                        )
                    added = added + (total,)
        totals = added
        tile += 1
    taps_across = blocks_across * kernel_w
    taps = blocks_down * kernel_h * taps_across
    for i in tl.static_range(TERMS):
        term = part * TERMS + i
        if term < terms:
            first = (place.to(tl.int64) * terms + term) * taps + first_ky * taps_across + first_kx
            for kx in tl.static_range(kernel_w):
                for ky in tl.static_range(kernel_h):
                    total = tl.sum(totals[(i * kernel_w + kx) * kernel_h + ky], axis=0)
                    tl.store(partial_ptr + (first + ky * taps_across + kx), total)


def forward_launch(x: Tensor, coeff: Tensor, basis: Tensor, out: Tensor, window: Window) -> Launch:
    return convolve_launch(
        x, out, window, as_pair(basis.shape[3:]), basis.shape[1], mix_weights,
        (coeff, basis), basis.shape[2],
    )  # fmt: skip


def grad_input_launch(
    grad: Tensor, coeff: Tensor, basis: Tensor, out: Tensor, window: Window
) -> Launch:
    return convolve_launch(
        grad, out, window, as_pair(basis.shape[3:]), basis.shape[1], mix_weights,
        (coeff, basis), basis.shape[2], backwards=True,
    )  # fmt: skip


def grad_coeff_launch(
    grad: Tensor, x: Tensor, basis: Tensor, window: Window
) -> tuple[Launch, Tensor]:
    """The launch, and what it fills: the gradient, in a wider type where blocks of taps add up."""
    batch, groups, terms, kh, kw = basis.shape
    height, width = grad.shape[2:]
    tile = plan.correlation((kh, kw), batch * groups, height, width, x.element_size())
    walk = correlation_walk(window, tile)
    down, across = plan.tiles(walk, height, width)
    dtype = x.dtype if tile.block == (kh, kw) else sum_dtype(x)
    out = x.new_empty((batch, groups, terms, height, width), dtype=dtype)
    launch = Launch(
        grad_coeff_kernel,
        batch * groups * down * across,
        {
            "grad_ptr": grad,
            "source_ptr": x,
            "basis_ptr": basis,
            "out_ptr": out,
            "terms": terms,
            "channels": x.shape[1] // groups,
            "tiles_down": down,
            "tiles_across": across,
            **plane_sizes(x, grad, window.padding),
            "blocks_down": kh // tile.block[0],
            "blocks_across": kw // tile.block[1],
        },
        {"WALK": walk},
    )
    return launch, out


def grad_basis_launch(
    grad: Tensor, x: Tensor, coeff: Tensor, kernel: Pair, window: Window
) -> tuple[Launch, Tensor]:
    """The launch, and what it fills: partial sums [B, G, strips, R, kh, kw]."""
    batch, groups, terms, height, width = coeff.shape
    planes = batch * groups
    tile = plan.reduction(kernel, terms, planes, height, width, x.element_size())
    walk = correlation_walk(window, tile, plan.REDUCING_THREADS)
    down, across = plan.tiles(walk, height, width)
    blocks = kernel[0] // tile.block[0], kernel[1] // tile.block[1]
    parts = plan.ceil_div(terms, tile.terms)
    strip = plan.strip(planes * blocks[0] * blocks[1] * parts, down * across)
    strips = plan.ceil_div(down * across, strip)
    partial = x.new_empty((batch, groups, strips, terms, *kernel), dtype=sum_dtype(x))
    launch = Launch(
        grad_basis_kernel,
        planes * strips * blocks[0] * blocks[1] * parts,
        {
            "grad_ptr": grad,
            "source_ptr": x,
            "coeff_ptr": coeff,
            "partial_ptr": partial,
            "terms": terms,
            "channels": x.shape[1] // groups,
            "tiles_down": down,
            "tiles_across": across,
            **plane_sizes(x, grad, window.padding),
            "blocks_down": blocks[0],
            "blocks_across": blocks[1],
            "parts": parts,
            "strip": strip,
            "strips_total": strips,
        },
        {"WALK": walk, "TERMS": tile.terms},
        warps=plan.REDUCING_THREADS // 32,
    )
    return launch, partial


def lowrank_dynamic_conv(
    x: Tensor,  # [B, C, H, W]
    coeff: Tensor,  # [B, G, R, Ho, Wo]
    basis: Tensor,  # [B, G, R, kh, kw]
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:  # [B, C, Ho, Wo]
    require("x", x, IMAGE)
    require("coeff", coeff, COEFFICIENTS, (x.shape[0],), ("x", x))
    require("basis", basis, BASIS, coeff.shape[:3], ("x", x))
    require_groups("coeff", x.shape[1], coeff.shape[1])
    out = x.new_empty((*x.shape[:2], *coeff.shape[3:]))
    window = Window.of(stride, padding, dilation)
    forward_launch(x.contiguous(), coeff.contiguous(), basis.contiguous(), out, window).run()
    return out


def lowrank_dynamic_conv_grad_input(
    grad: Tensor,  # [B, C, Ho, Wo]
    coeff: Tensor,  # [B, G, R, Ho, Wo]
    basis: Tensor,  # [B, G, R, kh, kw]
    size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:  # [B, C, H, W]
    require("grad", grad, OUTPUT)
    sizes = (grad.shape[0], None, None, *grad.shape[2:])
    require("coeff", coeff, COEFFICIENTS, sizes, ("grad", grad))
    require("basis", basis, BASIS, coeff.shape[:3], ("grad", grad))
    require_groups("coeff", grad.shape[1], coeff.shape[1])
    out = grad.new_empty((*grad.shape[:2], *size))
    window = Window.of(stride, padding, dilation)
    grad_input_launch(grad.contiguous(), coeff.contiguous(), basis.contiguous(), out, window).run()
    return out


def lowrank_dynamic_conv_grad_coeff(
    grad: Tensor,  # [B, C, Ho, Wo]
    x: Tensor,  # [B, C, H, W]
    basis: Tensor,  # [B, G, R, kh, kw]
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:  # [B, G, R, Ho, Wo]
    require("grad", grad, OUTPUT)
    require("x", x, IMAGE, grad.shape[:2], ("grad", grad))
    require("basis", basis, BASIS, grad.shape[:1], ("grad", grad))
    require_groups("basis", x.shape[1], basis.shape[1])
    window = Window.of(stride, padding, dilation)
    launch, out = grad_coeff_launch(grad.contiguous(), x.contiguous(), basis.contiguous(), window)
    launch.run()
    return out.to(grad.dtype)


def lowrank_dynamic_conv_grad_basis(
    grad: Tensor,  # [B, C, Ho, Wo]
    x: Tensor,  # [B, C, H, W]
    coeff: Tensor,  # [B, G, R, Ho, Wo]
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:  # [B, G, R, kh, kw]
    require("grad", grad, OUTPUT)
    require("x", x, IMAGE, grad.shape[:2], ("grad", grad))
    sizes = (grad.shape[0], None, None, *grad.shape[2:])
    require("coeff", coeff, COEFFICIENTS, sizes, ("grad", grad))
    require_groups("coeff", x.shape[1], coeff.shape[1])
    window = Window.of(stride, padding, dilation)
    launch, partial = grad_basis_launch(
        grad.contiguous(), x.contiguous(), coeff.contiguous(), as_pair(kernel), window
    )
    launch.run()
    return partial.sum(2).to(grad.dtype)
