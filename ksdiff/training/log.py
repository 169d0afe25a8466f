"""What a run leaves behind: metrics.csv, TensorBoard events, curves.png."""

import csv
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Appends rows (stage, step, name, value) to metrics.csv and TensorBoard."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "metrics.csv"
        # A run killed at once can leave an empty file.
        fresh = not self.path.exists() or not self.path.stat().st_size
        self._file = self.path.open("a", newline="")
        self._rows = csv.writer(self._file)
        if fresh:
            self._rows.writerow(("stage", "step", "name", "value"))
            self._file.flush()
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, stage: int, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._rows.writerow((stage, step, name, f"{value:.6g}"))
            self._board.add_scalar(f"stage{stage}/{name}", value, step)
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        self._board.close()


def save_curves(folder: Path) -> None:
    """Plot every series of metrics.csv over the steps, stages side by side, as curves.png."""
    from matplotlib.figure import Figure

    series: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            panel = row["name"].split("/")[0]
            steps, values = series.setdefault(panel, {}).setdefault(
                f"stage {row['stage']} {row['name'].partition('/')[2]}".strip(), ([], [])
            )
            steps.append(int(row["step"]))
            values.append(float(row["value"]))
    figure = Figure(figsize=(4.5 * len(series), 3.5), layout="constrained")
    for axis, (panel, lines) in zip(
        figure.subplots(1, len(series), squeeze=False)[0], series.items(), strict=True
    ):
        for label, (steps, values) in lines.items():
            axis.plot(steps, values, label=label)
        axis.set_title(panel)
        axis.set_xlabel("step")
        axis.legend(fontsize=6)
    figure.savefig(folder / "curves.png", dpi=100)
