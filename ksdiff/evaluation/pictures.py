"""A scene's results side by side: the whole, an enlarged part, and the errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.evaluation.scenes import Subject
from ksdiff.io.outputs import atomic

_PANEL = 2.4  # inches
_SHOWN = 480  # pixels of a whole scene at most, in each direction
_PART = 4  # a part's side is one such share of the scene's
_PERCENTILES = (1, 99)
_DPI = 110


def write_picture(path: str | Path, subject: Subject, results: dict[str, Tensor]) -> None:
    """A column per method, after PAN, MS and the truth where there is one.

    All images share one stretch. The part shown is the one where PAN varies most. Errors are
    absolute, mean over bands, each relative to its band's mean in the truth, all on one scale.

    Args:
        path: PNG to write; its folder is made.
        results: fused images [1, C, H, W] in DN by method.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KSDiffError(f"pictures {path.parent}: cannot be written: {error.strerror}") from None
    figure = _figure(subject, results)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


def _figure(subject: Subject, results: dict[str, Tensor]) -> Figure:
    truth, ratio = subject.truth, subject.info.ratio
    pan = subject.pan[0, 0].numpy()
    squares = subject.ms[0].numpy().repeat(ratio, 1).repeat(ratio, 2)
    stretch = _Stretch(truth[0].numpy() if truth is not None else squares, subject.colours)
    images = {"MS": stretch(squares)}
    if truth is not None:
        images["truth"] = stretch(truth[0].numpy())
    images |= {name: stretch(fused[0].numpy()) for name, fused in results.items()}
    columns = {"PAN": _grey(pan), **images}
    errors = {} if truth is None else {n: _error(f, truth) for n, f in results.items()}
    part = _busiest(pan)
    rows = 3 if errors else 2
    figure = Figure(figsize=(_PANEL * len(columns), (_PANEL + 0.25) * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    step = max(1, -(-max(pan.shape) // _SHOWN))
    for index, (name, image) in enumerate(columns.items()):
        axes[0, index].imshow(image[::step, ::step])
        axes[0, index].set_title(name, fontsize=10)
        axes[1, index].imshow(image[part], interpolation="nearest")
    _outline(axes[0, 0], part, step)
    if errors:
        most = np.percentile(np.stack(list(errors.values())), 99.5) or 1.0
        for index, name in enumerate(columns):
            if name in errors:
                drawn = axes[2, index].imshow(
                    errors[name][::step, ::step], cmap="magma", vmin=0, vmax=most
                )
                axes[2, index].set_title(f"mean {errors[name].mean():.4f}", fontsize=9)
        bar = figure.colorbar(drawn, ax=axes[2, : len(columns) - len(errors)], location="left")
        bar.set_label("absolute error / band mean", fontsize=9)
    figure.suptitle(f"{subject.info.name}, {subject.info.resolution} resolution", fontsize=11)
    return figure


class _Stretch:
    """Colour bands of an image [C, H, W] to [H, W, 3] in 0..1, by one image's percentiles."""

    def __init__(self, of: np.ndarray, colours: list[int]) -> None:
        self.colours = colours
        low, high = np.percentile(of[colours], _PERCENTILES, axis=(1, 2))
        self.low, self.span = low, np.where(high > low, high - low, 1.0)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        colours = image[self.colours].transpose(1, 2, 0)
        return ((colours - self.low) / self.span).clip(0, 1)


def _grey(pan: np.ndarray) -> np.ndarray:
    low, high = np.percentile(pan, _PERCENTILES)
    grey = ((pan - low) / (high - low if high > low else 1.0)).clip(0, 1)
    return grey[..., None].repeat(3, -1)


def _error(fused: Tensor, truth: Tensor) -> np.ndarray:
    mean = truth.mean((2, 3), keepdim=True)
    return ((fused - truth).abs() / mean).mean(1)[0].numpy()


def _busiest(pan: np.ndarray) -> tuple[slice, slice]:
    """The window of a quarter of each side in which neighbouring pixels differ most."""
    height, width = (max(side // _PART, 16) for side in pan.shape)
    change = np.abs(np.diff(pan, axis=0))[:, :-1] + np.abs(np.diff(pan, axis=1))[:-1]
    corners = [
        (y, x)
        for y in range(0, pan.shape[0] - height + 1, max(height // 2, 1))
        for x in range(0, pan.shape[1] - width + 1, max(width // 2, 1))
    ]
    y, x = max(corners, key=lambda at: change[at[0] : at[0] + height, at[1] : at[1] + width].sum())
    return slice(y, y + height), slice(x, x + width)


def _outline(axis: Axes, part: tuple[slice, slice], step: int) -> None:
    rows, columns = part
    corner = (columns.start / step - 0.5, rows.start / step - 0.5)
    sides = ((piece.stop - piece.start) / step for piece in (columns, rows))
    axis.add_patch(Rectangle(corner, *sides, fill=False, edgecolor="yellow", linewidth=1))
