"""Checks of the images that indexes take."""

from torch import Tensor


def check_images(**images: Tensor) -> None:
    """Raise unless all are floating-point [B, C, H, W] of the same batch, height and width."""
    first_name, first = next(iter(images.items()))
    for name, image in images.items():
        if image.ndim != 4:
            raise ValueError(f"{name}: expected [B, C, H, W], got shape {tuple(image.shape)}")
        if not image.is_floating_point():
            raise TypeError(f"{name}: expected a floating-point tensor, got {image.dtype}")
        if image.shape[0] != first.shape[0] or image.shape[2:] != first.shape[2:]:
            raise ValueError(
                f"{name}: batch, height and width must be those of {first_name} "
                f"{tuple(first.shape)}, got {tuple(image.shape)}"
            )


def check_pair(**images: Tensor) -> None:
    """Raise unless all are floating-point [B, C, H, W] of one shape."""
    check_images(**images)
    first_name, first = next(iter(images.items()))
    for name, image in images.items():
        if image.shape != first.shape:
            raise ValueError(
                f"{name}: expected as many bands as {first_name} ({first.shape[1]}), "
                f"got {image.shape[1]}"
            )
