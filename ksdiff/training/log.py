"""The logs of a run: metrics.csv, TensorBoard events, curves.png."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ksdiff.training.checkpoint import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("stage", "step", "name", "value")
_MOST_LINES = 10  # of a panel and stage, that can be told apart


class RunLog:
    """Appends rows (stage, step, name, value) to metrics.csv and TensorBoard.

    Args:
        folder: the run's.
        done: where the run goes on; rows of later steps, which a kill left, are dropped.
        offset: steps of stage 1, after which TensorBoard shows stage 2.
    """

    def __init__(self, folder: Path, done: Progress, offset: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow: only when a run begins

        self.path, self._offset = folder / "metrics.csv", offset
        kept = [row for row in _rows(self.path) if (row[0], row[1]) <= done[:2]]
        partial = self.path.with_suffix(".part")
        with partial.open("w", newline="") as file:
            csv.writer(file).writerows((_COLUMNS, *kept))
        partial.replace(self.path)
        self._file = self.path.open("a", newline="")
        self._writer = csv.writer(self._file)
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=self._along(*done[:2]) + 1
        )

    def _along(self, stage: int, step: int) -> int:
        return step if stage < 2 else self._offset + step

    def write(self, stage: int, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.writerow((stage, step, name, f"{value:.6g}"))
            self._board.add_scalar(f"stage{stage}/{name}", value, self._along(stage, step))
        self._file.flush()

    def show(self, stage: int, step: int, figure: Figure) -> None:
        """Put a matplotlib figure into TensorBoard."""
        self._board.add_figure("validation", figure, self._along(stage, step))

    def close(self) -> None:
        self._file.close()
        self._board.close()


def _rows(path: Path) -> list[tuple[int, int, str, str]]:
    """The rows of metrics.csv; a last one that a kill cut short is left out."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if len(row) == len(_COLUMNS)]
    return [(int(stage), int(step), name, value) for stage, step, name, value in rows[1:] if value]


def save_curves(folder: Path) -> None:
    """Plot every series of metrics.csv over the steps as curves.png; of many scenes, the mean."""
    from matplotlib.figure import Figure

    series: dict[str, dict[str, dict[int, list[float]]]] = {}
    rows = _rows(folder / "metrics.csv")
    lines = {(stage, name) for stage, _, name, _ in rows}
    count = Counter((stage, name.partition("/")[0]) for stage, name in lines)
    for stage, step, name, value in rows:
        panel, _, line = name.partition("/")
        if count[stage, panel] > _MOST_LINES:
            line = f"mean of {count[stage, panel]} scenes"
        values = series.setdefault(panel, {}).setdefault(f"stage {stage} {line}".strip(), {})
        values.setdefault(step, []).append(float(value))
    if not series:
        return
    figure = Figure(figsize=(4.5 * len(series), 3.5), layout="constrained")
    for axis, (panel, curves) in zip(
        figure.subplots(1, len(series), squeeze=False)[0], series.items(), strict=True
    ):
        for label, values in curves.items():
            means = [fmean(value) for value in values.values()]
            axis.plot(list(values), means, label=label, marker="." if len(values) == 1 else None)
        axis.set_title(panel)
        axis.set_xlabel("step")
        axis.legend(fontsize=6)
    figure.savefig(folder / "curves.png", dpi=100)
