"""The run folder: which run owns it, and its files other than checkpoints and logs."""

import json
import shutil
from pathlib import Path

from ksdiff.config import Config, load_config, save_config
from ksdiff.errors import KSDiffError
from ksdiff.runtime import machine_header
from ksdiff.training.checkpoint import latest_checkpoint


def claim(folder: Path, config: Config, stages: tuple[int, ...], resume: bool) -> None:
    """Claim the run folder, or check that this run owns it.

    Raises:
        KSDiffError: it holds another run, there is nothing to resume, it cannot be written.
    """
    saved, checkpoints = folder / "config.yaml", folder / "checkpoints"
    begun = latest_checkpoint(checkpoints) is not None
    if resume and not begun:
        raise KSDiffError(f"training.run_dir {folder}: there is no checkpoint to resume from")
    if begun and not resume and 1 in stages:
        raise KSDiffError(
            f"training.run_dir {folder}: holds a run already; resume it or choose another folder"
        )
    if begun and load_config(saved) != config:
        raise KSDiffError(
            f"training.run_dir {folder}: holds a run with another config ({saved}); "
            "choose another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in checkpoints.glob(".*.part"):
            shutil.rmtree(unfinished)
        save_config(config, saved)
    except OSError as error:
        raise KSDiffError(
            f"training.run_dir {folder}: cannot be written: {error.strerror}"
        ) from None


def note_environment(folder: Path, **more: object) -> None:
    """Add the environment of this start to environment.json, a list with one entry per start."""
    path = folder / "environment.json"
    try:
        earlier = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        earlier = []
    path.write_text(json.dumps([*earlier, machine_header() | more], indent=1) + "\n")
