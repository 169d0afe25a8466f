"""Sharpening over HTTP."""

from __future__ import annotations

from importlib.util import find_spec

from ksdiff.cli.options import takes
from ksdiff.errors import KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.serve.options import ServeOptions


@takes(ServeOptions, into="serving")
@takes(SharpenOptions, "device", "tile")
def serve(serving: ServeOptions, options: SharpenOptions) -> None:
    """Take jobs over HTTP: POST /sharpen with names of files under --root."""
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise KSDiffError(
            "serve: needs packages that are not installed: pip install 'ksdiff[serve]'"
        )
    from ksdiff.serve.run import serve as run

    run(serving, options, lambda address: print(f"ksdiff serves at {address}", flush=True))
