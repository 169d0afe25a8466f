"""Checks of what users pass in: errors name the argument, what was expected and what came."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, ParamSpec

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LARGEST = 2**31 - 1  # of a stride, padding or dilation: products of two fit in 64 bits
LARGEST_SPAN = 4096  # of a dilated kernel on an image that is smaller

Pair = tuple[int, int]
_P = ParamSpec("_P")


class Window(NamedTuple):
    """How a kernel walks over an image: rows first, columns second."""

    stride: Pair
    padding: Pair  # above the first row, left of the first column
    dilation: Pair

    @classmethod
    def of(cls, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> "Window":
        """From the lists that operators are called with."""
        return cls(as_pair(stride), as_pair(padding), as_pair(dilation))

    def pads_alike(self, image: Pair, kernel: Pair, out: Pair) -> bool:
        """Whether a convolution with this padding on both sides gives `out` pixels of `image`."""
        for axis in range(2):
            reach = self.dilation[axis] * (kernel[axis] - 1) + 1
            room = image[axis] + 2 * self.padding[axis] - reach
            if room // self.stride[axis] + 1 != out[axis]:
                return False
        return True


def as_pair(values: Sequence[int]) -> Pair:
    """The values of a checked list of two."""
    first, second = values
    return first, second


def overridable(function: Callable[_P, Tensor]) -> Callable[_P, Tensor]:
    """As PyTorch's own functions, to be overridden by the tensor-likes among its arguments: tensor
    subclasses, and the proxies with which `torch.fx` traces.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        given = (*args, *kwargs.values())
        if has_torch_function(given):
            return handle_torch_function(call, given, *args, **kwargs)
        return function(*args, **kwargs)

    return call


def shape_text(tensor: Tensor) -> str:
    return "[" + ", ".join(str(size) for size in tensor.shape) + "]"


def require_tensor(name: str, value: object, layout: str, hint: str = "") -> None:
    """Raises unless `value` is a tensor of a supported dtype with as many axes as `layout`; `hint`
    ends the message about the axes.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor {layout}, got {type(value).__name__}")
    rank = layout.count(",") + 1
    if value.dim() != rank:
        raise ValueError(
            f"{name}: expected {rank} axes {layout}, got shape {shape_text(value)}{hint}"
        )
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
    parts = []
    for part in both:
        if not is_integer(part):
            raise TypeError(f"{name}: expected an int or two, got {value!r}")
        if part < least:
            raise ValueError(f"{name}: expected at least {least}, got {value!r}")
        if part > LARGEST:
            raise ValueError(f"{name}: expected at most {LARGEST}, got {value!r}")
        parts.append(as_int(part))
    return parts[0], parts[1]


def is_integer(value: object) -> bool:
    """Whether a value is an int, or one of NumPy's; bools are not, nor are tensors."""
    if isinstance(value, (bool, Tensor)):
        return False
    return isinstance(value, (int, torch.SymInt)) or hasattr(type(value), "__index__")


def as_int(value: Any) -> int:
    """A value that `is_integer` as an int; symbolic ones stay."""
    if not isinstance(value, (int, torch.SymInt)):
        value = operator.index(value)
    return value


def count(name: str, value: object) -> int:
    """An int of at least one."""
    if not is_integer(value):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    number = as_int(value)
    if number < 1:
        raise ValueError(f"{name}: expected at least 1, got {value!r}")
    return number


def _require_span(size: int, kernel: int, dilation: int) -> None:
    """Raises where a kernel is far larger than the image that is padded for it."""
    span, most = dilation * (kernel - 1) + 1, max(2 * size, LARGEST_SPAN)
    if span > most:
        raise ValueError(
            f"dilation: expected a dilated kernel that spans at most {most} pixels of an image of "
            f"{size}, got {span}"
        )


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Output size ceil(size / stride) and the top padding that centres the kernels on it."""
    out = (size + stride - 1) // stride
    if stride == 1:
        return out, dilation * (kernel - 1) // 2
    return out, max((out - 1) * stride + dilation * (kernel - 1) + 1 - size, 0) // 2


def _symmetric_window(
    size: Pair, kernel: Pair, stride: Pair, dilation: Pair
) -> tuple[Window, Pair]:
    if kernel[0] % 2 == 0 or kernel[1] % 2 == 0:
        raise ValueError(
            f'padding: expected odd kernels for "symmetric", got {kernel[0]} x {kernel[1]}'
        )
    pads = dilation[0] * (kernel[0] // 2), dilation[1] * (kernel[1] // 2)
    out = (size[0] + stride[0] - 1) // stride[0], (size[1] + stride[1] - 1) // stride[1]
    return Window(stride, pads, dilation), out


def resolve_window(
    size: Pair,
    kernel: Pair,
    stride: int | Pair,
    padding: Literal["same", "symmetric"] | int | Pair,
    dilation: int | Pair,
) -> tuple[Window, Pair]:
    """The window that a kernel of size `kernel` walks with over an image of `size`, and the
    size of what comes out, as `torch.nn.functional.conv2d` counts; "same" keeps
    ceil(size / stride), with the odd pixel of an even kernel at the bottom and right, and
    "symmetric" does so with the same padding on both sides, whatever the stride.
    """
    strides = pair("stride", stride, 1)
    dilations = pair("dilation", dilation, 1)
    if kernel[0] < 1 or kernel[1] < 1:
        raise ValueError(f"kernel size: expected at least 1 x 1, got {kernel[0]} x {kernel[1]}")
    if isinstance(padding, str):
        if padding not in ("same", "symmetric"):
            raise ValueError(
                f'padding: expected "same", "symmetric", an int or two, got {padding!r}'
            )
        for axis in range(2):
            _require_span(size[axis], kernel[axis], dilations[axis])
        if padding == "symmetric":
            return _symmetric_window(size, kernel, strides, dilations)
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


def border(
    mode: object, size: Pair, kernel: Pair, window: Window, out: Pair
) -> tuple[int, int, int, int] | None:
    """The pixels that the argument `padding_mode` adds on the left and right, above and below, or
    None where zeros are meant, which no operator needs to be given.
    """
    if mode == "zeros":
        return None
    if mode not in ("reflect", "replicate", "circular"):
        raise ValueError(
            f'padding_mode: expected "zeros", "reflect", "replicate" or "circular", got {mode!r}'
        )
    margins: list[int] = []
    for axis in (1, 0):
        before = window.padding[axis]
        reach = (out[axis] - 1) * window.stride[axis] + (kernel[axis] - 1) * window.dilation[axis]
        after = max(reach + 1 - size[axis] - before, 0)
        most = {"reflect": max(size[axis] - 1, 0), "circular": size[axis]}.get(str(mode))
        if most is not None and max(before, after) > most:
            raise ValueError(
                f"padding_mode: expected at most {most} pixels around a "
                f"{('height', 'width')[axis]} of {size[axis]} for {mode!r}, "
                f"got {max(before, after)}"
            )
        margins += [before, after]
    return margins[0], margins[1], margins[2], margins[3]


def require_groups(name: str, channels: int, groups: int) -> None:
    """Raises unless the image's channels can be shared out evenly among the kernels' groups."""
    if groups < 1 or channels % groups != 0:
        raise ValueError(
            f"{name}: expected a number of groups that divides x's {channels} channels, "
            f"got {groups}"
        )


def channel_groups(groups: object, channels: int, out_channels: int) -> int:
    """The argument `groups` as an int that divides the channels of image and output."""
    if not is_integer(groups):
        raise TypeError(f"groups: expected an int, got {groups!r}")
    number = as_int(groups)
    require_groups("groups", channels, number)
    if out_channels % number != 0:
        raise ValueError(
            f"weight: expected a number of output channels that {number} groups divide, "
            f"got {out_channels}"
        )
    return number
