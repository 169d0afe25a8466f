"""The training loop of both stages: Lightning Fabric, EMA, checkpoints, exact resume."""

import math
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ksdiff.config import Config, TrainingConfig, load_config, save_config
from ksdiff.data.augment import collate
from ksdiff.errors import KSDiffError
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import save_weights
from ksdiff.training.checkpoint import (
    Progress,
    latest_checkpoint,
    load_modules,
    load_optimizer,
    read_progress,
    save_checkpoint,
)
from ksdiff.training.log import RunLog, save_curves
from ksdiff.training.samples import Samples
from ksdiff.training.stages import StageOne, StageTwo
from ksdiff.training.validation import Scene, save_picture, validate, validation_scenes

_LOG_EVERY = 50
_STAGES = {"1": (1,), "2": (2,), "all": (1, 2)}


def run(config: Config, stage: str = "all", resume: bool = False) -> Path:
    """Train and return the weights file of the last stage that ran.

    Args:
        config: everything; a copy goes into ``config.training.run_dir``.
        stage: "1", "2" (after stage 1 in the same run folder) or "all".
        resume: go on from the newest checkpoint in the run folder; the result is the one that an
            uninterrupted run would have given.

    Raises:
        KSDiffError: no data, a run folder that holds another run, nothing to go on from.
    """
    if stage not in _STAGES:
        raise KSDiffError(f"stage: expected one of {', '.join(_STAGES)}, got {stage!r}")
    return _Run(config, _STAGES[stage], resume).train()


class _Run:
    def __init__(self, config: Config, stages: tuple[int, ...], resume: bool) -> None:
        self.config, self.stages = config, stages
        self.folder = Path(config.training.run_dir)
        self.checkpoints = self.folder / "checkpoints"
        _claim(self.folder, config, stages, resume)
        self.fabric = Fabric(
            accelerator=config.training.accelerator, devices=1, precision=config.training.precision
        )
        self.fabric.seed_everything(config.training.seed, verbose=False)
        self.model = KSDiff(config.model)
        self.average = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(config.training.ema)
        )
        self.fabric.to_device(self.average)
        self.done = Progress(0, 0)
        self.checkpoint = latest_checkpoint(self.checkpoints)
        if self.checkpoint is not None:
            self.done = read_progress(self.checkpoint)
            load_modules(self.checkpoint, self.model, self.average)
        self.scenes = [
            Scene(scene.name, *self.fabric.to_device(scene[1:]))
            for scene in validation_scenes(config)
        ]

    def train(self) -> Path:
        if self.stages[0] == 2 and self.done.stage == 0:
            raise KSDiffError(
                f"{self.folder}: stage 2 needs stage 1's checkpoint; run stage 1 first"
            )
        self.log = RunLog(self.folder)
        try:
            for stage in self.stages:
                self._train_stage(stage)
        finally:
            self.log.close()
        save_curves(self.folder)
        path = self.folder / "weights.safetensors"
        save_weights(path, self.average.module, self.config)
        return path

    def _train_stage(self, stage: int) -> None:
        training = self.config.training
        total = training.steps_stage1 if stage == 1 else training.steps_stage2
        first = self.done.step if self.done.stage == stage else 0
        if self.done.stage > stage or first >= total:
            return
        losses, optimizer, peak = self._prepare(stage)
        if first:
            load_optimizer(self.checkpoint, optimizer)
        loader = self.fabric.setup_dataloaders(self._loader(stage, first, total))
        noise = torch.Generator()
        started = time.perf_counter()
        with _bar(f"stage {stage}", total, first) as (bar, task):
            for step, sample in enumerate(loader, start=first + 1):
                for group in optimizer.param_groups:
                    group["lr"] = peak * learning_rate_factor(step, total, training)
                noise.manual_seed((training.seed * 2 + stage) * 10**9 + step)
                values = losses(sample, noise)
                optimizer.zero_grad()
                self.fabric.backward(values["loss"])
                self.fabric.clip_gradients(losses, optimizer, max_norm=training.clip)
                optimizer.step()
                self.average.update_parameters(self.model)
                last = step == total
                if step % _LOG_EVERY == 0 or last:
                    speed = (step - first) * training.batch / (time.perf_counter() - started)
                    entries = {name: value.item() for name, value in values.items()}
                    self.log.write(stage, step, {**entries, "samples_per_s": speed})
                    bar.update(task, loss=f"{entries['loss']:.4f}", speed=f"{speed:.1f} samples/s")
                if step % training.validate_every == 0 or last:
                    self._validate(stage, step)
                if step % training.checkpoint_every == 0 or last:
                    self.done = Progress(stage, step)
                    save_checkpoint(
                        self.checkpoints, self.done, self.model, self.average, optimizer
                    )
                bar.advance(task)

    def _prepare(self, stage: int):
        training, margin = self.config.training, self.config.data.margin
        if stage == 1:
            losses, peak = StageOne(self.model, margin), training.learning_rate
        else:
            if self.done.step == self.config.training.steps_stage1 and self.done.stage == 1:
                # Stage 2 goes on from the averaged weights: they give the better prior.
                self.model.load_state_dict(self.average.module.state_dict())
            losses = StageTwo(self.model, margin, training.fusion_weight)
            peak = training.learning_rate_stage2
        optimizer = torch.optim.AdamW(
            losses.parameters_to_train(), lr=peak, weight_decay=training.weight_decay
        )
        return *self.fabric.setup(losses, optimizer), peak

    def _loader(self, stage: int, first: int, total: int) -> DataLoader:
        batch = self.config.training.batch
        # Stage 2 draws other samples than stage 1 did.
        offset = 0 if stage == 1 else self.config.training.steps_stage1 * batch
        samples = Samples(self.config, offset + total * batch)
        return DataLoader(
            samples,
            batch_size=batch,
            sampler=range(offset + first * batch, offset + total * batch),
            collate_fn=collate,
            num_workers=self.config.training.workers,
        )

    def _validate(self, stage: int, step: int) -> None:
        if not self.scenes:
            return
        model = self.average.module.eval()
        for name, scores in validate(model, self.scenes, stage).items():
            self.log.write(stage, step, {f"SAM/{name}": scores.sam, f"ERGAS/{name}": scores.ergas})
        save_picture(self.folder / "validation.png", model, self.scenes, stage)


def learning_rate_factor(step: int, total: int, training: TrainingConfig) -> float:
    """Linear warm-up, then a half cosine down to 1 % of the peak."""
    warm = min(1.0, step / max(training.warmup, 1))
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / total)))


def _claim(folder: Path, config: Config, stages: tuple[int, ...], resume: bool) -> None:
    """Make the run folder ours, or see that it already is."""
    saved, begun = folder / "config.yaml", latest_checkpoint(folder / "checkpoints") is not None
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
        save_config(config, saved)
    except OSError as error:
        raise KSDiffError(
            f"training.run_dir {folder}: cannot be written: {error.strerror}"
        ) from None


@contextmanager
def _bar(label: str, total: int, done: int):
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  {task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns) as bar:
        yield bar, bar.add_task(label, total=total, completed=done, loss="-", speed="-")
