"""Checks of the images [B, C, H, W] that filters take."""

from torch import Tensor


def check_image(name: str, x: Tensor) -> None:
    if x.ndim != 4:
        raise ValueError(f"{name}: expected [B, C, H, W], got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"{name}: expected a floating-point tensor, got {x.dtype}")


def check_divisible(name: str, x: Tensor, ratio: int) -> None:
    if x.shape[-2] % ratio or x.shape[-1] % ratio:
        raise ValueError(
            f"{name}: height and width must be multiples of the ratio {ratio}, "
            f"got {tuple(x.shape[-2:])}; crop first"
        )


def check_pan(pan: Tensor, ratio: int) -> None:
    check_image("pan", pan)
    if pan.shape[1] != 1:
        raise ValueError(f"pan: expected one band, got {pan.shape[1]}")
    check_divisible("pan", pan, ratio)
