"""Sharpening of xarray objects, in memory or on dask; needs ``pip install "ksdiff[dask]"``."""

from __future__ import annotations

from ksdiff.errors import KSDiffError

try:
    import dask.array  # noqa: F401
    import rioxarray  # noqa: F401
except ModuleNotFoundError as error:
    raise KSDiffError(
        f'ksdiff.xarray needs {error.name}, which is not installed: pip install "ksdiff[dask]"'
    ) from None

from ksdiff.xarray.sharpen import sharpen

__all__ = ["sharpen"]
