"""The files that a call writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ksdiff.errors import KSDiffError
from ksdiff.io.outputs import check_output


@dataclass(frozen=True)
class OutputPaths:
    """By the names of the options; see `ksdiff.inference.sharpen.Sharpener.sharpen_files`."""

    out: str | Path
    rgb: str | Path | None = None
    preview: str | Path | None = None
    report: str | Path | None = None

    def check(self, sources: Sequence[str], overwrite: bool) -> None:
        """See that all can be written, and that each has a name of its own.

        Raises:
            KSDiffError: naming the option.
        """
        if self.preview is not None and Path(self.preview).suffix.lower() != ".png":
            raise KSDiffError(f"preview {self.preview}: expected a name that ends in .png")
        if self.rgb is not None:
            from ksdiff.inference.rgb import check_rgb

            check_rgb(self.rgb)
        if self.report is not None:
            from ksdiff.inference.report import check_report

            check_report(self.report)
        taken = {Path(source).resolve() for source in sources}
        for option, path in asdict(self).items():
            if path is None:
                continue
            check_output(path, overwrite, option)
            resolved = Path(path).resolve()
            if resolved in taken:
                raise KSDiffError(f"{option} {path}: is one of the other files of this call")
            taken.add(resolved)
