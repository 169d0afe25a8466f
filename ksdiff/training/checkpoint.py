"""Checkpoints that survive a kill: written beside, renamed into place, read without pickle."""

import json
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


def save_checkpoint(
    folder: Path,
    progress: Progress,
    model: torch.nn.Module,
    average: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write model, averaged model and optimiser; only then drop the checkpoint before."""
    name = f"stage{progress.stage}-{progress.step:07d}"
    partial = folder / f".{name}.part"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(_tensors(model.state_dict()), partial / "model.safetensors")
        save_file(_tensors(average.state_dict()), partial / "average.safetensors")
        save_file(_optimizer_tensors(optimizer), partial / "optimizer.safetensors")
        (partial / "progress.json").write_text(json.dumps(progress._asdict()))
        earlier = list(folder.glob("stage*"))
        partial.replace(folder / name)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise KSDiffError(f"checkpoint {folder / name}: cannot be written: {error}") from None
    for old in earlier:
        if old.name != name:
            shutil.rmtree(old)


def latest_checkpoint(folder: Path) -> Path | None:
    return max(folder.glob("stage*"), default=None)


def read_progress(checkpoint: Path) -> Progress:
    return Progress(**json.loads((checkpoint / "progress.json").read_text()))


def load_modules(checkpoint: Path, model: torch.nn.Module, average: torch.nn.Module) -> None:
    try:
        model.load_state_dict(load_file(checkpoint / "model.safetensors"))
        average.load_state_dict(load_file(checkpoint / "average.safetensors"))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise KSDiffError(f"checkpoint {checkpoint}: not readable: {error}") from None


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
