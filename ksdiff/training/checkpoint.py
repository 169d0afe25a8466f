"""Checkpoints that survive a kill: written beside, renamed into place, read without pickle."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ksdiff.errors import KSDiffError


class Progress(NamedTuple):
    stage: int  # 1 or 2
    step: int  # optimiser steps done in that stage
    finished: bool = False  # the stage, at its last step or by early stopping
    best: float = math.inf  # lowest mean ERGAS of this stage's validations
    worse: int = 0  # validations since then


def save_checkpoint(
    folder: Path,
    progress: Progress,
    model: torch.nn.Module,
    average: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    precision: dict[str, object],
) -> None:
    """Write model, averaged model, optimiser and what mixed precision keeps (its loss scale).

    The checkpoint before is dropped only when this one is on the disk under its name.
    """
    name = f"stage{progress.stage}-{progress.step:07d}"
    partial = folder / f".{name}.part"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(_tensors(model.state_dict()), partial / "model.safetensors")
        save_file(_tensors(average.state_dict()), partial / "average.safetensors")
        save_file(_optimizer_tensors(optimizer), partial / "optimizer.safetensors")
        content = {"progress": progress._asdict(), "precision": precision}
        (partial / "progress.json").write_text(json.dumps(content))
        for path in (*partial.iterdir(), partial):
            _to_disk(path)
        earlier = list(folder.glob("stage*"))
        partial.replace(folder / name)
        _to_disk(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise KSDiffError(f"checkpoint {folder / name}: cannot be written: {error}") from None
    for old in earlier:
        if old.name != name:
            shutil.rmtree(old)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def latest_checkpoint(folder: Path) -> Path | None:
    return max(folder.glob("stage*"), default=None)


def read_progress(checkpoint: Path) -> Progress:
    return Progress(**_state(checkpoint)["progress"])


def read_precision(checkpoint: Path) -> dict[str, object]:
    return _state(checkpoint)["precision"]


def _state(checkpoint: Path) -> dict:
    try:
        return json.loads((checkpoint / "progress.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise KSDiffError(f"checkpoint {checkpoint}: not readable: {error}") from None


def load_modules(checkpoint: Path, model: torch.nn.Module, average: torch.nn.Module) -> None:
    """Raises KSDiffError for damaged files and tensors that are not this model's."""
    for name, module in (("model", model), ("average", average)):
        try:
            tensors = load_file(checkpoint / f"{name}.safetensors")
        except (SafetensorError, OSError) as error:
            raise KSDiffError(f"checkpoint {checkpoint}: not readable: {error}") from None
        own = module.state_dict()
        for key in sorted(own.keys() | tensors.keys()):
            here, there = (tuple(s[key].shape) if key in s else None for s in (own, tensors))
            if here != there:
                raise KSDiffError(
                    f"checkpoint {checkpoint}: does not fit model.* of the config: {key} is "
                    f"{there or 'missing'} in the file, {here or 'absent'} in the model"
                )
        module.load_state_dict(tensors)


def load_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in load_file(checkpoint / "optimizer.safetensors").items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return _tensors(
        {
            f"{index}.{key}": torch.as_tensor(value)
            for index, entries in optimizer.state_dict()["state"].items()
            for key, value in entries.items()
        }
    )
