"""Checks before a launch: a kernel given wrong shapes would read foreign memory."""

from torch import Tensor

from ksdiff_ops import arguments


def require(
    name: str,
    value: Tensor,
    layout: str,
    sizes: tuple[int | None, ...] = (),
    like: tuple[str, Tensor] | None = None,
) -> None:
    """Raises unless `value` has the rank of `layout`, the leading `sizes` that are not None, and
    the dtype and device of `like`.
    """
    arguments.require_tensor(name, value, layout)
    if like is not None:
        arguments.require_alike(like, (name, value))
    expected = list(value.shape)
    for axis, size in enumerate(sizes):
        if size is not None:
            expected[axis] = size
    arguments.require_shape(name, value, layout, tuple(expected))


def require_divided(name: str, channels: int, groups: int) -> None:
    """Raises unless the channels of `name` can be shared out evenly among the groups."""
    if groups < 1 or channels % groups != 0:
        raise ValueError(
            f"{name}: expected a number of channels that {groups} groups divide, got {channels}"
        )
