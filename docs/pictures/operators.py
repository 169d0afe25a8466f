"""Draws what every operator reads, for docs/operators.md: `python docs/pictures/operators.py`."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

FOLDER = Path(__file__).parent
FIRST, SECOND = "#1f77b4", "#d95f02"  # two output pixels, or two samples
LINE, FAINT = "#555555", "#f4f4f4"
SIZE = 7  # of the images, in pixels
WINDOWS = (((1, 1), FIRST), ((4, 3), SECOND))  # first row and column read, of 3 x 3


def canvas(width: float, height: float) -> Axes:
    """Axes without frame, in units of one image pixel, rows downwards."""
    axes = plt.figure(figsize=(width * 0.34, height * 0.34), layout="constrained").subplots()
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    return axes


def save(axes: Axes, name: str) -> None:
    # Without the metadata the same drawing gives the same file.
    axes.figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(axes.figure)


def text(axes: Axes, x: float, y: float, words: str, colour: str = "black", size: int = 9) -> None:
    axes.text(x, y, words, ha="center", va="center", color=colour, fontsize=size)


def grid(
    axes: Axes, x: float, y: float, shape: tuple[int, int], fill=FAINT, edge=LINE, values=None
) -> None:
    """A grid of unit cells whose upper left corner is at (x, y); `values` shade them."""
    for row in range(shape[0]):
        for column in range(shape[1]):
            shade = fill if values is None else plt.cm.Greys(0.1 + 0.7 * values[row, column])
            axes.add_patch(Rectangle((x + column, y + row), 1, 1, fc=shade, ec=edge, lw=0.6))


def frame(axes: Axes, x: float, y: float, height: float, width: float, colour: str) -> None:
    axes.add_patch(Rectangle((x, y), width, height, fill=False, ec=colour, lw=2.2, zorder=3))


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour=LINE) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.3})


def kernels(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(5).random((count, 3, 3)))


def image_and_output(axes: Axes, output_x: float, windows=WINDOWS) -> None:
    """An image with the windows that output pixels read, and the output, both in 7 x 7."""
    grid(axes, 0.5, 1.5, (SIZE, SIZE))
    grid(axes, output_x, 1.5, (SIZE, SIZE))
    text(axes, 0.5 + SIZE / 2, 0.7, "x")
    text(axes, output_x + SIZE / 2, 0.7, "y")
    for (row, column), colour in windows:
        frame(axes, 0.5 + column, 1.5 + row, 3, 3, colour)
        axes.add_patch(
            Rectangle((output_x + column + 1, 2.5 + row), 1, 1, fc=colour, ec=LINE, lw=0.6)
        )


def dynamic_conv() -> None:
    axes = canvas(24.5, 9)
    image_and_output(axes, 17)
    text(axes, 12.3, 0.7, "weight: a kernel for every pixel")
    for (place, colour), values, y in zip(WINDOWS, kernels(2), (1.6, 5.4), strict=True):
        grid(axes, 10.8, y, (3, 3), values=values)
        frame(axes, 10.8, y, 3, 3, colour)
        arrow(axes, (0.5 + place[1] + 3, 1.5 + place[0] + 1.5), (10.7, y + 1.5), colour)
        arrow(axes, (13.9, y + 1.5), (17 + place[1] + 1, 1.5 + place[0] + 1.5), colour)
    save(axes, "dynamic_conv")


def lowrank_dynamic_conv() -> None:
    axes = canvas(31, 9)
    image_and_output(axes, 23.5)
    text(axes, 15.4, 0.7, "basis: R kernels for all pixels; coeff: R numbers for every pixel")
    for number, values in enumerate(kernels(3)):
        grid(axes, 10.8 + 3.6 * number, 3.4, (3, 3), values=values)
    amounts = ((0.7, 0.2, 0.1), (0.1, 0.4, 0.5))
    for (place, colour), y, coeff in zip(WINDOWS, (2.5, 7.3), amounts, strict=True):
        for number, amount in enumerate(coeff):
            text(axes, 12.3 + 3.6 * number, y, f"{amount} ×", colour, 10)
        arrow(axes, (0.5 + place[1] + 3, 1.5 + place[0] + 1.5), (10.9, y), colour)
        arrow(axes, (20.8, y), (23.5 + place[1] + 1, 1.5 + place[0] + 1.5), colour)
    save(axes, "lowrank_dynamic_conv")


def tucker_kernel() -> None:
    axes = canvas(31, 9)
    text(axes, 11, 0.7, "factors")
    text(axes, 2, 8.3, "core")
    grid(axes, 1, 5.5, (2, 2), fill="#c6dbef")
    names = ("U⁽¹⁾ [Cout, r₁]", "U⁽²⁾ [Cin, r₂]", "U⁽³⁾ [kh, r₃]", "U⁽⁴⁾ [kw, r₄]")
    for number, (rows, name) in enumerate(zip((6, 5, 3, 3), names, strict=True)):
        x = 4.6 + 3.6 * number
        text(axes, x - 0.8, 6.5, f"×{'₁₂₃₄'[number]}", size=12)
        grid(axes, x, 7.5 - rows, (rows, 2), fill="#c6dbef")
        text(axes, x + 1, 8.3, name, size=8)
    text(axes, 18.7, 6, "⊙", size=13)
    for x, name, fill in ((19.6, "base", FAINT), (25.3, "a sample's kernels", "#c6dbef")):
        for depth in range(2, -1, -1):
            grid(axes, x + 0.5 * depth, 4.4 - 0.5 * depth, (3, 3), fill=fill)
        text(axes, x + 2, 8.3, name, size=8)
    text(axes, 24.4, 6, "=", size=13)
    save(axes, "tucker_kernel")


def batched_conv2d() -> None:
    axes = canvas(21.5, 11.5)
    text(axes, 3, 0.7, "x")
    text(axes, 10.5, 0.7, "weight: kernels of its own")
    text(axes, 18.3, 0.7, "y")
    for y, colour, values, sample in zip(
        (1.5, 6.5), (FIRST, SECOND), kernels(2), ("first", "second"), strict=True
    ):
        grid(axes, 0.5, y, (4, 5))
        grid(axes, 15.8, y, (4, 5), fill=colour)
        for row, column in ((0, 0), (1, 2)):
            frame(axes, 0.5 + column, y + row, 3, 3, colour)
        grid(axes, 9, y + 0.5, (3, 3), values=values)
        frame(axes, 9, y + 0.5, 3, 3, colour)
        arrow(axes, (5.7, y + 2), (8.8, y + 2), colour)
        arrow(axes, (12.2, y + 2), (15.6, y + 2), colour)
        text(axes, 3, y + 4.4, f"{sample} sample", colour, 8)
    save(axes, "batched_conv2d")


def adaptive_conv2d() -> None:
    axes = canvas(31, 9)
    image_and_output(axes, 23.5)
    text(axes, 12, 0.7, "attention: a factor for\nevery tap and pixel", size=8)
    text(axes, 18.7, 0.7, "weight: one dense kernel\nfor all pixels", size=8)
    grid(axes, 17.2, 3.5, (3, 3), values=kernels(3)[2])
    for (place, colour), values, y in zip(WINDOWS, kernels(2), (1.9, 5.6), strict=True):
        text(axes, 9.8, y + 1.5, "×", colour, 12)
        grid(axes, 10.5, y, (3, 3), values=values)
        frame(axes, 10.5, y, 3, 3, colour)
        arrow(axes, (0.5 + place[1] + 3, 1.5 + place[0] + 1.5), (9.4, y + 1.5), colour)
        arrow(axes, (13.6, y + 1.5), (17.1, 5), colour)
        arrow(axes, (20.3, 5), (23.5 + place[1] + 1, 1.5 + place[0] + 1.5), colour)
    save(axes, "adaptive_conv2d")


if __name__ == "__main__":
    dynamic_conv()
    lowrank_dynamic_conv()
    tucker_kernel()
    batched_conv2d()
    adaptive_conv2d()
