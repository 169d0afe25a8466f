"""Dense convolution over patches scaled pixel by pixel and tap by tap, and its three gradients.

The kernels of one tap times the image, shifted by that tap, are a matrix product over the
channels; its result is scaled by the tap's attention in the precision of sums, and added up over
the taps. Neither patches nor their scaled copies are written to memory. The gradient of the image
is the same with the kernels exchanged, the shifts turned round, and the attention of the pixel
that is read.

Where the numbers of channels allow it, images are read in channels_last, 16 bytes at a time, for
which they are copied once; kernels are copied tap by tap in any case, channels side by side.
"""

import triton.language as tl
from torch import Tensor

from ksdiff_ops.triton import plan
from ksdiff_ops.triton.checks import require
from ksdiff_ops.triton.launch import Launch, kernel, sum_dtype
from ksdiff_ops.triton.multiply import (
    STAGES,
    at,
    for_vectors,
    image_places,
    inside_image,
    is_exact,
    multiply,
    operand_size,
    precision,
    tile_pixels,
    vector_length,
)
from ksdiff_ops.triton.walk import accumulator

IMAGE = "[B, Cin, H, W]"
OUTPUT = "[B, Cout, H, W]"
ATTENTION = "[B, kh, kw, H, W]"
KERNEL = "[Cout, Cin, kh, kw]"


@kernel
def convolve_kernel(
    source_ptr, attention_ptr, weight_ptr, out_ptr, rows, channels, taps_across,
    row_blocks, pixel_blocks, height, width, pad_h, pad_w,
    BACKWARDS: tl.constexpr, TAPS: tl.constexpr, STEPS: tl.constexpr,
    VECTOR: tl.constexpr, OPERANDS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, DEPTH: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """One tile [ROWS, PIXELS] of the output of one sample.

    BACKWARDS reads through the taps the other way, and the attention where it reads. Kernels are
    [TAPS, rows, channels].
    """
    program = tl.program_id(0)
    channels = channels // VECTOR * VECTOR  # no other number, but known to be of whole vectors
    r = program % row_blocks * ROWS + tl.arange(0, ROWS)
    place = program // row_blocks
    sample = (place // pixel_blocks).to(tl.int64)
    plane = height.to(tl.int64) * width
    pixel, row, column = tile_pixels(place % pixel_blocks, width, PIXELS)
    inside = pixel < plane
    source = at(source_ptr, sample * channels * plane, VECTOR)
    attention = attention_ptr + sample * TAPS * plane
    sums = tl.zeros((ROWS, PIXELS), accumulator(source_ptr.dtype.element_ty))
    for tap in range(TAPS):
        down = tap // taps_across - pad_h
        right = tap % taps_across - pad_w
        if BACKWARDS:
            down = -down
            right = -right
        there = inside & inside_image(row + down, column + right, height, width)
        read = pixel + down * width + right
        weight = at(weight_ptr, tap * rows * channels, VECTOR)
        products = tl.zeros((ROWS, PIXELS), accumulator(source_ptr.dtype.element_ty))
        for step in range(STEPS):
            c = step * DEPTH + tl.arange(0, DEPTH)
            w = tl.load(
                weight + ((r * channels)[:, None] + c[None, :]),
                mask=(r < rows)[:, None] & (c < channels)[None, :], other=0.0,
            )  # fmt: skip
            v = tl.load(
                source + image_places(c, read, channels, plane, VECTOR),
                mask=(c < channels)[:, None] & there[None, :], other=0.0,
            )  # fmt: skip
            products = multiply(w, v, products, OPERANDS, PRECISION)
        if BACKWARDS:
            scale = tl.load(attention + (tap * plane + read), mask=there, other=0.0)
        else:
            scale = tl.load(attention + (tap * plane + pixel), mask=inside, other=0.0)
        sums += products * scale.to(sums.dtype)[None, :]
    offset = (r * plane)[:, None] + pixel[None, :]
    mask = (r < rows)[:, None] & inside[None, :]
    out = out_ptr + sample * rows * plane
    tl.store(out + offset, sums.to(out_ptr.dtype.element_ty), mask=mask)


@kernel
def grad_attention_kernel(
    grad_ptr, source_ptr, weight_ptr, out_ptr, outputs, channels, taps, taps_across,
    pixel_blocks, height, width, pad_h, pad_w,
    BLOCKS: tl.constexpr, STEPS: tl.constexpr,
    VECTOR: tl.constexpr, OPERANDS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, DEPTH: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """The gradient of one tap's attention on PIXELS pixels: the gradient of the patches before
    they are scaled, ROWS channels at a time, times the patches, summed over the channels. Kernels
    are [taps, channels, outputs].
    """
    program = tl.program_id(0)
    outputs = outputs // VECTOR * VECTOR
    channels = channels // VECTOR * VECTOR
    tap = program % taps
    place = program // taps
    sample = (place // pixel_blocks).to(tl.int64)
    plane = height.to(tl.int64) * width
    pixel, row, column = tile_pixels(place % pixel_blocks, width, PIXELS)
    inside = pixel < plane
    down = tap // taps_across - pad_h
    right = tap % taps_across - pad_w
    there = inside & inside_image(row + down, column + right, height, width)
    read = pixel + down * width + right
    grad = at(grad_ptr, sample * outputs * plane, VECTOR)
    source = at(source_ptr, sample * channels * plane, VECTOR)
    weight = at(weight_ptr, tap * channels * outputs, VECTOR)
    sums = tl.zeros((ROWS, PIXELS), accumulator(source_ptr.dtype.element_ty))
    for block in range(BLOCKS):
        c = block * ROWS + tl.arange(0, ROWS)
        products = tl.zeros((ROWS, PIXELS), accumulator(source_ptr.dtype.element_ty))
        for step in range(STEPS):
            o = step * DEPTH + tl.arange(0, DEPTH)
            w = tl.load(
                weight + ((c * outputs)[:, None] + o[None, :]),
                mask=(c < channels)[:, None] & (o < outputs)[None, :], other=0.0,
            )  # fmt: skip
            g = tl.load(
                grad + image_places(o, pixel, outputs, plane, VECTOR),
                mask=(o < outputs)[:, None] & inside[None, :], other=0.0,
            )  # fmt: skip
            products = multiply(w, g, products, OPERANDS, PRECISION)
        v = tl.load(
            source + image_places(c, read, channels, plane, VECTOR),
            mask=(c < channels)[:, None] & there[None, :], other=0.0,
        )  # fmt: skip
        sums += products * v.to(sums.dtype)
    total = tl.sum(sums, axis=0).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + (sample * taps + tap) * plane + pixel, total, mask=inside)


@kernel
def grad_weight_kernel(
    grad_ptr, source_ptr, attention_ptr, partial_ptr, batch, outputs, channels, taps, taps_across,
    row_blocks, depth_blocks, pixel_blocks, height, width, pad_h, pad_w,
    STEPS: tl.constexpr, VECTOR: tl.constexpr, OPERANDS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, DEPTH: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """One tile [ROWS, DEPTH] of one tap's kernels' gradient, summed over one part of all samples'
    pixels.

    Parts are [splits, Cout, Cin, taps].
    """
    program = tl.program_id(0)
    outputs = outputs // VECTOR * VECTOR
    channels = channels // VECTOR * VECTOR
    r = program % row_blocks * ROWS + tl.arange(0, ROWS)
    c = program // row_blocks % depth_blocks * DEPTH + tl.arange(0, DEPTH)
    tap = program // row_blocks // depth_blocks % taps
    split = program // row_blocks // depth_blocks // taps
    plane = height.to(tl.int64) * width
    down = tap // taps_across - pad_h
    right = tap % taps_across - pad_w
    sums = tl.zeros((ROWS, DEPTH), accumulator(source_ptr.dtype.element_ty))
    for step in range(STEPS):
        block = split * STEPS + step
        sample = (block // pixel_blocks).to(tl.int64)
        pixel, row, column = tile_pixels(block % pixel_blocks, width, PIXELS)
        there = inside_image(row + down, column + right, height, width)
        there = there & (pixel < plane) & (sample < batch)
        read = pixel + down * width + right
        grad = at(grad_ptr, sample * outputs * plane, VECTOR)
        source = at(source_ptr, sample * channels * plane, VECTOR)
        g = tl.load(
            grad + image_places(r, pixel, outputs, plane, VECTOR),
            mask=(r < outputs)[:, None] & there[None, :], other=0.0,
        )  # fmt: skip
        scale = tl.load(
            attention_ptr + (sample * taps + tap) * plane + pixel, mask=there, other=0.0
        )
        v = tl.load(
            source + image_places(c, read, channels, plane, VECTOR),
            mask=(c < channels)[:, None] & there[None, :], other=0.0,
        )  # fmt: skip
        scaled = g.to(sums.dtype) * scale.to(sums.dtype)[None, :]
        sums = multiply(scaled, tl.trans(v), sums, OPERANDS, PRECISION)
    part = partial_ptr + split.to(tl.int64) * outputs * channels * taps
    offset = (r[:, None] * channels + c[None, :]) * taps + tap
    tl.store(part + offset, sums, mask=(r < outputs)[:, None] & (c < channels)[None, :])


def convolve_launch(
    source: Tensor,  # [B, channels, H, W]
    attention: Tensor,  # [B, kh, kw, H, W]
    weight: Tensor,  # [Cout, Cin, kh, kw]
    out: Tensor,  # [B, rows, H, W]
    backwards: bool = False,
) -> Launch:
    """Convolves `source`; with `backwards`, it is a gradient of the convolution's output and
    `out` becomes that of its image.
    """
    batch, rows, height, width = out.shape
    channels = source.shape[1]
    taps = weight.shape[2] * weight.shape[3]
    vector = vector_length(source.dtype, channels)
    numbers = precision(source.dtype)
    tile = plan.product(rows, height * width, batch, is_exact(numbers), scaled=True)
    row_blocks = plan.ceil_div(rows, tile.rows)
    pixel_blocks = plan.ceil_div(height * width, tile.pixels)
    return Launch(
        convolve_kernel,
        batch * row_blocks * pixel_blocks,
        {
            "source_ptr": _laid_out(source, vector),
            "attention_ptr": attention.contiguous(),
            "weight_ptr": _tap_by_tap(weight.transpose(0, 1) if backwards else weight),
            "out_ptr": out,
            "rows": rows,
            "channels": channels,
            "row_blocks": row_blocks,
            "pixel_blocks": pixel_blocks,
            **_place_arguments(weight.shape[2:], source),
        },
        {
            "BACKWARDS": backwards,
            "TAPS": taps,
            "STEPS": plan.ceil_div(channels, tile.depth),
            "VECTOR": vector,
            **numbers,
            **_tile_constants(tile),
        },
        warps=tile.warps,
        stages=STAGES,
    )


def grad_attention_launch(grad: Tensor, x: Tensor, weight: Tensor, out: Tensor) -> Launch:
    batch, outputs, height, width = grad.shape
    channels = x.shape[1]
    taps = weight.shape[2] * weight.shape[3]
    vector = vector_length(x.dtype, channels, outputs)
    numbers = precision(x.dtype)
    tile = plan.product(channels, height * width, batch * taps, is_exact(numbers), scaled=True)
    pixel_blocks = plan.ceil_div(height * width, tile.pixels)
    return Launch(
        grad_attention_kernel,
        batch * pixel_blocks * taps,
        {
            "grad_ptr": _laid_out(grad, vector),
            "source_ptr": _laid_out(x, vector),
            "weight_ptr": _tap_by_tap(weight.transpose(0, 1)),
            "out_ptr": out,
            "outputs": outputs,
            "channels": channels,
            "taps": taps,
            "pixel_blocks": pixel_blocks,
            **_place_arguments(weight.shape[2:], x),
        },
        {
            "BLOCKS": plan.ceil_div(channels, tile.rows),
            "STEPS": plan.ceil_div(outputs, tile.depth),
            "VECTOR": vector,
            **numbers,
            **_tile_constants(tile),
        },
        warps=tile.warps,
        stages=STAGES,
    )


def grad_weight_launch(grad: Tensor, x: Tensor, attention: Tensor) -> tuple[Launch, Tensor]:
    """The launch, and what it fills: partial sums [splits, Cout, Cin, kh, kw]."""
    batch, outputs, height, width = grad.shape
    channels = x.shape[1]
    kernel = attention.shape[1:3]
    taps = kernel[0] * kernel[1]
    vector = vector_length(x.dtype, channels, outputs)
    # A half of the gradient times one of the attention is no half.
    numbers = precision(x.dtype, widen=True)
    tile = plan.product_of_pixels(outputs, channels, is_exact(numbers), operand_size(numbers))
    row_blocks = plan.ceil_div(outputs, tile.rows)
    depth_blocks = plan.ceil_div(channels, tile.depth)
    pixel_blocks = plan.ceil_div(height * width, tile.pixels)
    programs = row_blocks * depth_blocks * taps
    steps = plan.steps(programs, batch * pixel_blocks)
    splits = plan.ceil_div(batch * pixel_blocks, steps)
    partial = x.new_empty((splits, outputs, channels, *kernel), dtype=sum_dtype(x))
    launch = Launch(
        grad_weight_kernel,
        programs * splits,
        {
            "grad_ptr": _laid_out(grad, vector),
            "source_ptr": _laid_out(x, vector),
            "attention_ptr": attention.contiguous(),
            "partial_ptr": partial,
            "batch": batch,
            "outputs": outputs,
            "channels": channels,
            "taps": taps,
            "row_blocks": row_blocks,
            "depth_blocks": depth_blocks,
            "pixel_blocks": pixel_blocks,
            **_place_arguments(kernel, x),
        },
        {"STEPS": steps, "VECTOR": vector, **numbers, **_tile_constants(tile)},
        warps=tile.warps,
        stages=STAGES,
    )
    return launch, partial


def adaptive_conv2d(
    x: Tensor,  # [B, Cin, H, W]
    attention: Tensor,  # [B, kh, kw, H, W]
    weight: Tensor,  # [Cout, Cin, kh, kw]
) -> Tensor:  # [B, Cout, H, W]
    require("x", x, IMAGE)
    require("weight", weight, KERNEL, (None, x.shape[1]), ("x", x))
    _require_attention(attention, weight.shape[2:], ("x", x))
    out = x.new_empty((x.shape[0], weight.shape[0], *x.shape[2:]))
    convolve_launch(x, attention, weight, out).run()
    return out


def adaptive_conv2d_grad_input(
    grad: Tensor,  # [B, Cout, H, W]
    attention: Tensor,  # [B, kh, kw, H, W]
    weight: Tensor,  # [Cout, Cin, kh, kw]
) -> Tensor:  # [B, Cin, H, W]
    require("grad", grad, OUTPUT)
    require("weight", weight, KERNEL, (grad.shape[1],), ("grad", grad))
    _require_attention(attention, weight.shape[2:], ("grad", grad))
    out = grad.new_empty((grad.shape[0], weight.shape[1], *grad.shape[2:]))
    convolve_launch(grad, attention, weight, out, backwards=True).run()
    return out


def adaptive_conv2d_grad_attention(
    grad: Tensor,  # [B, Cout, H, W]
    x: Tensor,  # [B, Cin, H, W]
    weight: Tensor,  # [Cout, Cin, kh, kw]
) -> Tensor:  # [B, kh, kw, H, W]
    require("grad", grad, OUTPUT)
    require("x", x, IMAGE, (grad.shape[0], None, *grad.shape[2:]), ("grad", grad))
    require("weight", weight, KERNEL, (grad.shape[1], x.shape[1]), ("grad", grad))
    out = grad.new_empty((grad.shape[0], *weight.shape[2:], *grad.shape[2:]))
    grad_attention_launch(grad, x, weight, out).run()
    return out


def adaptive_conv2d_grad_weight(
    grad: Tensor,  # [B, Cout, H, W]
    x: Tensor,  # [B, Cin, H, W]
    attention: Tensor,  # [B, kh, kw, H, W]
) -> Tensor:  # [Cout, Cin, kh, kw]
    require("grad", grad, OUTPUT)
    require("x", x, IMAGE, (grad.shape[0], None, *grad.shape[2:]), ("grad", grad))
    _require_attention(attention, (None, None), ("grad", grad))
    launch, partial = grad_weight_launch(grad, x, attention)
    launch.run()
    return partial.sum(0).to(grad.dtype)


def _require_attention(
    attention: Tensor, kernel: tuple[int | None, ...], like: tuple[str, Tensor]
) -> None:
    image = like[1]
    sizes = (image.shape[0], *kernel, *image.shape[2:])
    require("attention", attention, ATTENTION, sizes, like)


def _laid_out(image: Tensor, vector: int) -> Tensor:
    return image.contiguous() if vector == 1 else for_vectors(image)


def _tap_by_tap(weight: Tensor) -> Tensor:
    """[rows, channels, kh, kw] -> [kh, kw, rows, channels]"""
    return weight.permute(2, 3, 0, 1).contiguous()


def _place_arguments(kernel: tuple[int, ...], image: Tensor) -> dict[str, int]:
    return {
        "taps_across": kernel[1],
        "height": image.shape[2],
        "width": image.shape[3],
        "pad_h": (kernel[0] - 1) // 2,
        "pad_w": (kernel[1] - 1) // 2,
    }


def _tile_constants(tile: plan.Product) -> dict[str, int]:
    return {"ROWS": tile.rows, "DEPTH": tile.depth, "PIXELS": tile.pixels}
