"""Convolution of every sample with its own kernels, and its two gradients, as matrix products.

Every group of every sample is one product: kernels [Cout / G, Cin / G * taps] times patches, or
for the gradient of the kernels, output gradient [Cout / G, pixels] times patches. The gradient of
the image is the convolution of the output's gradient, walked backwards, with the kernels' first
two axes exchanged. Images are written in their own memory format.

Where there are pixels enough to pay for it, and channels that fill vectors, images and kernels are
copied once with their channels side by side, and read 16 bytes at a time.
"""

import torch
import triton.language as tl
from torch import Tensor

from ksdiff_ops.arguments import Window, as_pair
from ksdiff_ops.multilinear import image_format
from ksdiff_ops.triton import grouped, plan
from ksdiff_ops.triton.checks import require, require_divided
from ksdiff_ops.triton.launch import Launch, kernel, sum_dtype
from ksdiff_ops.triton.multiply import (
    STAGES,
    at,
    channel_and_tap,
    for_vectors,
    image_arguments,
    is_exact,
    multiply,
    operand_size,
    precision,
    read_patches,
    tile_pixels,
    vector_length,
    walk_arguments,
)
from ksdiff_ops.triton.walk import Pair, accumulator

IMAGE = "[B, Cin, H, W]"
OUTPUT = "[B, Cout, Ho, Wo]"
KERNELS = "[B, Cout, Cin / groups, kh, kw]"
_LEAST_PIXELS = 16 * 16  # that pay for copies of the kernels


@kernel
def convolve_kernel(
    source_ptr, weight_ptr, out_ptr, groups, rows, channels, taps, taps_across,
    weight_sample, weight_row, weight_channel, row_blocks, pixel_blocks,
    source_h, source_w, source_channel, source_column, out_h, out_w, out_channel, out_column,
    step_h, step_w, pad_h, pad_w, dilation_h, dilation_w, divide_h, divide_w,
    DIVIDED: tl.constexpr, STEPS: tl.constexpr,
    VECTOR: tl.constexpr, OPERANDS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, DEPTH: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """One tile [ROWS, PIXELS] of the output of one group of one sample.

    `rows` are the output channels of a group, `channels` those of the source.
    """
    program = tl.program_id(0)
    channels = channels // VECTOR * VECTOR  # no other number, but known to be of whole vectors
    row_block = program % row_blocks
    place = program // row_blocks
    sample = (place // pixel_blocks // groups).to(tl.int64)
    group = place // pixel_blocks % groups
    r = row_block * ROWS + tl.arange(0, ROWS)
    pixel, y, x = tile_pixels(place % pixel_blocks, out_w, PIXELS)
    inside = y < out_h
    y = y * step_h - pad_h
    x = x * step_w - pad_w
    source = at(source_ptr, sample * groups * channels * source_h * source_w, VECTOR)
    weight = at(weight_ptr, sample * weight_sample + group * rows * channels * taps, VECTOR)
    weight_row = weight_row // VECTOR * VECTOR
    sums = tl.zeros((ROWS, PIXELS), accumulator(source_ptr.dtype.element_ty))
    for step in range(STEPS):
        # Channels and taps in one: in the kernels' own order, where nothing is walked backwards.
        k = step * DEPTH + tl.arange(0, DEPTH)
        deep = k < channels * taps
        channel, tap = channel_and_tap(k, channels, taps, VECTOR)
        along = k if VECTOR > 1 else channel * weight_channel + tap
        w = tl.load(
            weight + (r[:, None] * weight_row + along[None, :]),
            mask=(r < rows)[:, None] & deep[None, :], other=0.0,
        )  # fmt: skip
        v = read_patches(
            source, y, x, tap // taps_across * dilation_h, tap % taps_across * dilation_w,
            group * channels + channel, deep[:, None] & inside[None, :],
            source_h, source_w, source_channel, source_column, divide_h, divide_w,
            DIVIDED, VECTOR,
        )  # fmt: skip
        sums = multiply(w, v, sums, OPERANDS, PRECISION)
    out = out_ptr + sample * groups * rows * out_h * out_w
    along = (group * rows + r).to(tl.int64) * out_channel
    offset = along[:, None] + (pixel * out_column)[None, :]
    mask = (r < rows)[:, None] & inside[None, :]
    tl.store(out + offset, sums.to(out_ptr.dtype.element_ty), mask=mask)


@kernel
def grad_weight_kernel(
    grad_ptr, source_ptr, partial_ptr, groups, rows, channels, taps, taps_across,
    row_blocks, depth_blocks, splits, planes,
    grad_h, grad_w, grad_channel, grad_column, source_h, source_w, source_channel, source_column,
    step_h, step_w, pad_h, pad_w, dilation_h, dilation_w, divide_h, divide_w,
    STEPS: tl.constexpr, VECTOR: tl.constexpr, OPERANDS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, DEPTH: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """One tile [ROWS, DEPTH] of one group's kernels' gradient, summed over one part of the pixels.

    Parts are [splits, B, Cout, Cin / groups, taps], or where vectors are read, with the last two
    axes exchanged.
    """
    program = tl.program_id(0)
    rows = rows // VECTOR * VECTOR
    channels = channels // VECTOR * VECTOR
    grad_column = grad_column // VECTOR * VECTOR
    r = program % row_blocks * ROWS + tl.arange(0, ROWS)
    k = program // row_blocks % depth_blocks * DEPTH + tl.arange(0, DEPTH)
    place = program // row_blocks // depth_blocks
    split = place % splits
    plane = (place // splits).to(tl.int64)
    group = place // splits % groups
    deep = k < channels * taps
    channel, tap = channel_and_tap(k, channels, taps, VECTOR)
    down = tap // taps_across * dilation_h
    right = tap % taps_across * dilation_w
    grad = at(grad_ptr, plane // groups * groups * rows * grad_h * grad_w, VECTOR)
    grad_rows = (group * rows + r).to(tl.int64)
    if VECTOR == 1:
        grad_rows *= grad_channel
    source = at(source_ptr, plane // groups * groups * channels * source_h * source_w, VECTOR)
    sums = tl.zeros((ROWS, DEPTH), accumulator(source_ptr.dtype.element_ty))
    for step in range(STEPS):
        pixel, y, x = tile_pixels(split * STEPS + step, grad_w, PIXELS)
        inside = y < grad_h
        g = tl.load(
            grad + (grad_rows[:, None] + (pixel * grad_column)[None, :]),
            mask=(r < rows)[:, None] & inside[None, :], other=0.0,
        )  # fmt: skip
        v = read_patches(
            source, y * step_h - pad_h, x * step_w - pad_w, down, right,
            group * channels + channel, deep[:, None] & inside[None, :],
            source_h, source_w, source_channel, source_column, divide_h, divide_w,
            False, VECTOR,
        )  # fmt: skip
        sums = multiply(g, tl.trans(v), sums, OPERANDS, PRECISION)
    part = partial_ptr + (split * planes + plane) * rows * channels * taps
    offset = r.to(tl.int64)[:, None] * (channels * taps) + k[None, :]
    tl.store(part + offset, sums, mask=(r < rows)[:, None] & deep[None, :])


def convolve_launch(
    source: Tensor,  # [B, G * channels, ., .]
    weight: Tensor,  # [B, Cout, Cin / G, kh, kw]
    out: Tensor,  # [B, G * rows, ., .]
    groups: int,
    window: Window,
    backwards: bool = False,
) -> Launch:
    """Convolves `source` with the kernels; with `backwards`, `source` is a gradient of the
    convolution's output and `out` becomes that of its image.
    """
    batch, outputs, height, width = out.shape
    rows, channels = outputs // groups, source.shape[1] // groups
    taps = weight.shape[3] * weight.shape[4]
    vector = _vector_length(out, channels)
    if vector > 1:
        source = for_vectors(source)
    kernels, row, channel = _kernels(weight, groups, backwards, vector)
    numbers = precision(source.dtype)
    tile = plan.product(rows, height * width, batch * groups, is_exact(numbers))
    row_blocks = plan.ceil_div(rows, tile.rows)
    pixel_blocks = plan.ceil_div(height * width, tile.pixels)
    divided = backwards and tuple(window.stride) != (1, 1)
    return Launch(
        convolve_kernel,
        batch * groups * row_blocks * pixel_blocks,
        {
            "source_ptr": source,
            "weight_ptr": kernels,
            "out_ptr": out,
            "groups": groups,
            "rows": rows,
            "channels": channels,
            "taps": taps,
            "taps_across": weight.shape[4],
            "weight_sample": kernels.stride(0),
            "weight_row": row,
            "weight_channel": channel,
            "row_blocks": row_blocks,
            "pixel_blocks": pixel_blocks,
            **image_arguments("source", source),
            **image_arguments("out", out),
            **walk_arguments(window, backwards),
        },
        {
            "DIVIDED": divided,
            "STEPS": plan.ceil_div(channels * taps, tile.depth),
            "VECTOR": vector,
            **numbers,
            "ROWS": tile.rows,
            "DEPTH": tile.depth,
            "PIXELS": tile.pixels,
        },
        warps=tile.warps,
        stages=STAGES,
    )


def grad_weight_launch(
    grad: Tensor, x: Tensor, groups: int, kernel: Pair, window: Window
) -> tuple[Launch, Tensor]:
    """The launch, and what it fills: partial sums [splits, B, Cout, Cin / groups, kh, kw]."""
    batch, outputs, height, width = grad.shape
    rows, channels = outputs // groups, x.shape[1] // groups
    taps = kernel[0] * kernel[1]
    vector = _vector_length(grad, rows, channels)
    if vector > 1:
        grad, x = for_vectors(grad), for_vectors(x)
    numbers = precision(x.dtype)
    tile = plan.product_of_pixels(rows, channels * taps, is_exact(numbers), operand_size(numbers))
    row_blocks = plan.ceil_div(rows, tile.rows)
    depth_blocks = plan.ceil_div(channels * taps, tile.depth)
    programs = batch * groups * row_blocks * depth_blocks
    steps = plan.steps(programs, plan.ceil_div(height * width, tile.pixels))
    splits = plan.ceil_div(height * width, steps * tile.pixels)
    parts = (splits, batch, outputs)
    if vector == 1:
        partial = x.new_empty((*parts, channels, *kernel), dtype=sum_dtype(x))
    else:
        partial = x.new_empty((*parts, *kernel, channels), dtype=sum_dtype(x)).movedim(-1, 3)
    launch = Launch(
        grad_weight_kernel,
        programs * splits,
        {
            "grad_ptr": grad,
            "source_ptr": x,
            "partial_ptr": partial,
            "groups": groups,
            "rows": rows,
            "channels": channels,
            "taps": taps,
            "taps_across": kernel[1],
            "row_blocks": row_blocks,
            "depth_blocks": depth_blocks,
            "splits": splits,
            "planes": batch * groups,
            **image_arguments("grad", grad),
            **image_arguments("source", x),
            **walk_arguments(window),
        },
        {
            "STEPS": steps,
            "VECTOR": vector,
            **numbers,
            "ROWS": tile.rows,
            "DEPTH": tile.depth,
            "PIXELS": tile.pixels,
        },
        warps=tile.warps,
        stages=STAGES,
    )
    return launch, partial


def batched_conv2d(
    x: Tensor,  # [B, Cin, H, W]
    weight: Tensor,  # [B, Cout, Cin / groups, kh, kw]
    size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:  # [B, Cout, Ho, Wo]
    require("x", x, IMAGE)
    require_divided("x", x.shape[1], groups)
    sizes = (x.shape[0], None, x.shape[1] // groups)
    require("weight", weight, KERNELS, sizes, ("x", x))
    require_divided("weight", weight.shape[1], groups)
    shape = torch.Size((x.shape[0], weight.shape[1], *size))
    window = Window.of(stride, padding, dilation)
    image, kernels = _dense(x), _dense_samples(weight)
    if _on_gpu(image) and grouped.serves(
        image.shape, weight.shape, shape, window, groups, _is_shared(kernels)
    ):
        return grouped.forward(image, kernels, window, groups, _is_shared(kernels))
    out = _new_image(x, shape)
    convolve_launch(image, kernels, out, groups, window).run()
    return out


def batched_conv2d_grad_input(
    grad: Tensor,  # [B, Cout, Ho, Wo]
    weight: Tensor,  # [B, Cout, Cin / groups, kh, kw]
    size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:  # [B, Cin, H, W]
    require("grad", grad, OUTPUT)
    require("weight", weight, KERNELS, grad.shape[:2], ("grad", grad))
    require_divided("grad", grad.shape[1], groups)
    shape = torch.Size((grad.shape[0], weight.shape[2] * groups, *size))
    window = Window.of(stride, padding, dilation)
    from_output, kernels = _dense(grad), _dense_samples(weight)
    if _on_gpu(from_output) and grouped.serves(
        shape, weight.shape, grad.shape, window, groups, _is_shared(kernels)
    ):
        return grouped.grad_input(
            from_output, kernels, as_pair(size), window, groups, _is_shared(kernels)
        )
    out = _new_image(grad, shape)
    convolve_launch(from_output, kernels, out, groups, window, backwards=True).run()
    return out


def batched_conv2d_grad_weight(
    grad: Tensor,  # [B, Cout, Ho, Wo]
    x: Tensor,  # [B, Cin, H, W]
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:  # [B, Cout, Cin / groups, kh, kw]
    require("grad", grad, OUTPUT)
    require("x", x, IMAGE, grad.shape[:1], ("grad", grad))
    require_divided("x", x.shape[1], groups)
    require_divided("grad", grad.shape[1], groups)
    window = Window.of(stride, padding, dilation)
    from_output, image = _dense(grad), _dense(x)
    size = torch.Size((*grad.shape[:2], x.shape[1] // groups, *kernel))
    if (
        _on_gpu(image)
        and from_output.is_contiguous()
        and grouped.serves(x.shape, size, grad.shape, window, groups)
    ):
        return grouped.grad_weight(from_output, image, as_pair(kernel), window, groups)
    launch, partial = grad_weight_launch(from_output, image, groups, as_pair(kernel), window)
    launch.run()
    return partial.sum(0).to(grad.dtype).contiguous()


def _vector_length(out: Tensor, *channels: int) -> int:
    few = out.shape[2] * out.shape[3] < _LEAST_PIXELS
    return 1 if few else vector_length(out.dtype, *channels)


def _kernels(weight: Tensor, groups: int, backwards: bool, vector: int) -> tuple[Tensor, int, int]:
    """Kernels as they are, or [B, rows, kh, kw, channels] where vectors are read, and their steps
    from row to row and from channel to channel.
    """
    taps = weight.shape[3] * weight.shape[4]
    inputs = weight.shape[2] * taps
    if vector == 1:
        return (weight, taps, inputs) if backwards else (weight, inputs, taps)
    shared = _is_shared(weight)
    own = (weight[:1] if shared else weight).unflatten(1, (groups, -1))  # B, G, Cout / G, Cin / G
    rows, channels = (3, 2) if backwards else (2, 3)
    own = own.permute(0, 1, rows, 4, 5, channels).contiguous()
    row = taps * own.shape[-1]
    return (own.expand(weight.shape[0], *own.shape[1:]) if shared else own), row, 1


def _dense(image: Tensor) -> Tensor:
    return image.contiguous(memory_format=image_format(image))


def _new_image(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=image_format(like)
    )


def _on_gpu(image: Tensor) -> bool:
    """Whether PyTorch's own convolutions may do the work: in the interpreter all is Triton's."""
    return image.is_cuda and image.is_contiguous()


def _is_shared(kernels: Tensor) -> bool:
    """Whether all samples have one kernel, which only one has memory for."""
    return kernels.shape[0] > 1 and kernels.stride(0) == 0


def _dense_samples(weight: Tensor) -> Tensor:
    """The kernels with each sample's own dense: one for the whole batch stays one."""
    return weight if weight[:1].is_contiguous() else weight.contiguous()
