"""Checks of what users pass in: errors name the argument, what was expected and what came."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LARGEST = 2**31 - 1  # of a stride, padding or dilation: products of two fit in 64 bits

Pair = tuple[int, int]


class Window(NamedTuple):
    """How a kernel walks over an image: rows first, columns second."""

    stride: Pair
    padding: Pair  # above the first row, left of the first column
    dilation: Pair


def shape_text(tensor: Tensor) -> str:
    return "[" + ", ".join(str(size) for size in tensor.shape) + "]"


def require_tensor(name: str, value: object, layout: str) -> None:
    """Raises unless `value` is a tensor of a supported dtype with as many axes as `layout`."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor {layout}, got {type(value).__name__}")
    rank = layout.count(",") + 1
    if value.dim() != rank:
        raise ValueError(f"{name}: expected {rank} axes {layout}, got shape {shape_text(value)}")
    if value.dtype not in DTYPES:
        raise TypeError(
            f"{name}: expected float32, float64, float16 or bfloat16, got {value.dtype}"
        )
    if value.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got the layout {value.layout}")


def require_shape(name: str, value: Tensor, layout: str, expected: tuple[int, ...]) -> None:
    """Raises unless `value` has exactly the sizes of `expected`."""
    if value.shape != expected:
        wanted = "[" + ", ".join(str(part) for part in expected) + "]"
        raise ValueError(f"{name}: expected {layout} = {wanted}, got shape {shape_text(value)}")


def require_alike(first: tuple[str, Tensor], *others: tuple[str, Tensor]) -> None:
    """Raises unless all named tensors share one device and one dtype."""
    lead, device, dtype = first[0], first[1].device, first[1].dtype
    for name, tensor in others:
        if tensor.device != device:
            raise ValueError(
                f"{name}: expected the device of {lead} ({device}), got {tensor.device}"
            )
        if tensor.dtype != dtype:
            raise TypeError(f"{name}: expected the dtype of {lead} ({dtype}), got {tensor.dtype}")


def pair(name: str, value: object, least: int) -> Pair:
    """An int or two ints, from `least` to LARGEST, as (rows, columns)."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{name}: expected an int or two, got {len(value)} values")
        both = tuple(value)
    else:
        both = (value, value)
    for part in both:
        if isinstance(part, bool) or not isinstance(part, int):
            raise TypeError(f"{name}: expected an int or two, got {value!r}")
        if part < least:
            raise ValueError(f"{name}: expected at least {least}, got {value!r}")
        if part > LARGEST:
            raise ValueError(f"{name}: expected at most {LARGEST}, got {value!r}")
    return both


def count(name: str, value: object) -> int:
    """An int of at least one."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, got {value!r}")
    return value


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Output size ceil(size / stride) and the top padding that centres the kernels on it."""
    out = (size + stride - 1) // stride
    if stride == 1:
        return out, dilation * (kernel - 1) // 2
    return out, max((out - 1) * stride + dilation * (kernel - 1) + 1 - size, 0) // 2


def resolve_window(
    size: Pair,
    kernel: Pair,
    stride: int | Pair,
    padding: Literal["same"] | int | Pair,
    dilation: int | Pair,
) -> tuple[Window, Pair]:
    """The window that a kernel of size `kernel` walks with over an image of `size`, and the
    size of what comes out, as `torch.nn.functional.conv2d` counts; "same" keeps
    ceil(size / stride), with the odd pixel of an even kernel at the bottom and right.
    """
    strides = pair("stride", stride, 1)
    dilations = pair("dilation", dilation, 1)
    if kernel[0] < 1 or kernel[1] < 1:
        raise ValueError(f"kernel size: expected at least 1 x 1, got {kernel[0]} x {kernel[1]}")
    if isinstance(padding, str):
        if padding != "same":
            raise ValueError(f'padding: expected "same", an int or two, got {padding!r}')
        ho, top = same_padding(size[0], kernel[0], strides[0], dilations[0])
        wo, left = same_padding(size[1], kernel[1], strides[1], dilations[1])
        return Window(strides, (top, left), dilations), (ho, wo)
    pads = pair("padding", padding, 0)
    outs = []
    for axis in range(2):
        room = size[axis] + 2 * pads[axis] - dilations[axis] * (kernel[axis] - 1) - 1
        if room < 0:
            axis_name = ("height", "width")[axis]
            raise ValueError(
                f"x: expected a {axis_name} plus padding of at least the dilated kernel's "
                f"{dilations[axis] * (kernel[axis] - 1) + 1}, "
                f"got {size[axis]} + 2 * {pads[axis]}"
            )
        outs.append(room // strides[axis] + 1)
    return Window(strides, pads, dilations), (outs[0], outs[1])


def require_groups(name: str, channels: int, groups: int) -> None:
    """Raises unless the image's channels can be shared out evenly among the kernels' groups."""
    if groups < 1 or channels % groups != 0:
        raise ValueError(
            f"{name}: expected a number of groups that divides x's {channels} channels, "
            f"got {groups}"
        )
