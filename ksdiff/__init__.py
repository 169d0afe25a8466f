"""Pansharpening by kernel-space diffusion."""

from importlib.metadata import PackageNotFoundError, version

from ksdiff.errors import Cancelled, KSDiffError

try:
    __version__ = version("ksdiff")
except PackageNotFoundError:
    __version__ = "0+source"

__all__ = ["Cancelled", "KSDiffError", "Sharpener", "__version__", "modulate", "watched"]


def __getattr__(name: str) -> object:
    # Loaded on first use, so that importing a lower layer does not import all of inference.
    if name == "Sharpener":
        from ksdiff.inference.sharpen import Sharpener

        return Sharpener
    if name == "watched":
        from ksdiff.inference.progress import watched

        return watched
    if name == "modulate":
        from ksdiff.models.modulate import modulate

        return modulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
