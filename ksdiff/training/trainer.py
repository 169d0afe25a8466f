"""The training loop of both stages: Lightning Fabric, EMA, checkpoints, exact resume."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)
from rich.table import Column
from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ksdiff.config import Config, TrainingConfig
from ksdiff.errors import KSDiffError
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights, save_weights
from ksdiff.training.augment import Sample, collate
from ksdiff.training.checkpoint import (
    Progress,
    latest_checkpoint,
    load_modules,
    load_optimizer,
    read_precision,
    read_progress,
    save_checkpoint,
)
from ksdiff.training.distributed import Batches, Parts, World
from ksdiff.training.log import RunLog, save_curves
from ksdiff.training.run_dir import claim, note_environment
from ksdiff.training.samples import Samples, ScenarioSamples
from ksdiff.training.settings import check_settings
from ksdiff.training.speed import StepClock, loader_speed, verdict
from ksdiff.training.stages import Losses, stage_losses
from ksdiff.training.validation import picture, validate, validation_scenes

if TYPE_CHECKING:
    from lightning_fabric.connector import _PRECISION_INPUT

_LOG_EVERY = 50
_STAGES = {"1": (1,), "2": (2,), "all": (1, 2)}


def _starting_model(config: Config) -> KSDiff:
    """With random weights, or those of ``training.start``."""
    if not config.training.start:
        return KSDiff(config.model)
    model, started = load_weights(config.training.start)
    if started.model != config.model:
        raise KSDiffError(
            f"training.start: the weights of {config.training.start} are those of another model; "
            "take over their model section, or start without"
        )
    return model.train()


class Recipe(NamedTuple):
    """The model to train and its losses; by default KSDiff as in the paper."""

    model: Callable[[Config], nn.Module] = _starting_model
    # (model, config, stage) -> a module like those in `ksdiff.training.stages`
    losses: Callable[[Any, Config, int], Losses] = stage_losses


def run(
    config: Config, stage: str = "all", resume: bool = False, recipe: Recipe | None = None
) -> Path:
    """Train and return the weights file of the last stage that ran.

    Started by torchrun, its processes train together (DDP); the batch of the config is cut between
    them, so their number changes no result beyond rounding.

    Args:
        config: everything; a copy goes into ``config.training.run_dir``.
        stage: "1", "2" (after stage 1 in the same run folder) or "all".
        resume: go on from the newest checkpoint in the run folder; the result is the one that an
            uninterrupted run would have given.
        recipe: what is trained instead of KSDiff. Only KSDiff can be validated, so that
            ``data.validation`` and ``data.valid_h5`` must be empty for others.

    Raises:
        KSDiffError: no data, settings that do not fit each other, a run folder that holds another
            run, nothing to go on from.
    """
    if stage not in _STAGES:
        raise KSDiffError(f"stage: expected one of {', '.join(_STAGES)}, got {stage!r}")
    return _Run(config, _STAGES[stage], resume, recipe or Recipe()).train()


class _Run:
    def __init__(
        self, config: Config, stages: tuple[int, ...], resume: bool, recipe: Recipe
    ) -> None:
        check_settings(config)
        self.config, self.stages, self.recipe = config, stages, recipe
        self.folder = Path(config.training.run_dir)
        self.checkpoints = self.folder / "checkpoints"
        self.fabric = _fabric(config.training)
        self.main = self.fabric.is_global_zero
        self.parts = Parts.of(config.training, self.fabric.world_size, self.fabric.global_rank)
        if self.main:
            claim(self.folder, config, stages, resume)
        self.fabric.barrier()
        self.fabric.seed_everything(config.training.seed, verbose=False)
        self.model = self.fabric.strategy.precision.convert_module(recipe.model(config))
        self.average = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(config.training.ema)
        )
        self.fabric.to_device(self.average)
        self.done = Progress(0, 0)
        self.checkpoint = latest_checkpoint(self.checkpoints)
        if self.checkpoint is not None:
            self.done = read_progress(self.checkpoint)
            load_modules(self.checkpoint, self.model, self.average)
        # Everyone has read the checkpoint before anyone writes the next, which drops it.
        self.fabric.barrier()
        judged = self.main and config.training.validate_every > 0
        self.scenes = validation_scenes(config, self.fabric.device) if judged else []
        if self.scenes and not isinstance(self.model, KSDiff):
            raise KSDiffError(
                "data.validation: only KSDiff can be validated, and this recipe trains a "
                f"{type(self.model).__name__}; leave data.validation and data.valid_h5 empty"
            )
        if config.training.early_stopping and self.main and not self.scenes:
            raise KSDiffError(
                "training.early_stopping: there are no validation scenes with truth to judge by; "
                "name some in data.validation or data.valid_h5, or set it to 0"
            )

    def train(self) -> Path:
        if self.stages[0] == 2 and self.done.stage == 0:
            raise KSDiffError(
                f"{self.folder}: stage 2 needs stage 1's checkpoint; run stage 1 first"
            )
        path = self.folder / "weights.safetensors"
        if not self.main:
            for stage in self.stages:
                self._train_stage(stage)
            return path
        try:
            self._train_and_tell()
        except OSError as error:
            raise KSDiffError(
                f"training.run_dir {self.folder}: writing failed: {error.strerror or error}; make "
                "room and resume"
            ) from error
        save_weights(path, self.average.module, self.config)
        return path

    def _train_and_tell(self) -> None:
        self.log = RunLog(self.folder, self.done, self.config.training.steps_stage1)
        note_environment(
            self.folder, processes=self.parts.world, stage=self.done.stage, step=self.done.step
        )
        try:
            for stage in self.stages:
                self._train_stage(stage)
        finally:
            self.log.close()
        save_curves(self.folder)

    def _train_stage(self, stage: int) -> None:
        training = self.config.training
        total = training.steps_stage1 if stage == 1 else training.steps_stage2
        first = self.done.step if self.done.stage == stage else 0
        if self.done.stage > stage:
            return
        if self.done.stage < stage or not self.done.finished:
            if first < total:
                self._steps(stage, first, total)
            else:
                self.done = Progress(stage, total, True)
        if training.early_stopping:
            self.average.module.load_state_dict(load_file(self._best(stage)))

    def _steps(self, stage: int, first: int, total: int) -> None:
        training = self.config.training
        losses, optimizer, peak = self._prepare(stage)
        if first and self.checkpoint is not None:
            load_optimizer(self.checkpoint, optimizer)
            self.fabric.strategy.precision.load_state_dict(read_precision(self.checkpoint))
        else:
            self.done = Progress(stage, 0)
        loader = self._loader(stage, first, total)
        supply = loader_speed(loader, self.parts.size, training.workers) * self.parts.world
        clock, noise = StepClock(), torch.Generator()
        with _bar(f"stage {stage}", total, first, self.main) as (bar, task):
            batches = clock.waiting(
                self.fabric.setup_dataloaders(loader, use_distributed_sampler=False)
            )
            for step in range(first + 1, total + 1):
                for group in optimizer.param_groups:
                    group["lr"] = peak * learning_rate_factor(step, total, training)
                noise_seed = (training.seed * 2 + stage) * 10**9 + step
                values = self._step(losses, optimizer, batches, noise.manual_seed(noise_seed))
                clock.count(training.batch)
                last = step == total
                if step % _LOG_EVERY == 0 or step % training.checkpoint_every == 0 or last:
                    entries = self._shared(values)
                if step % _LOG_EVERY == 0 or last:
                    speeds = clock.speeds()
                    if self.main:
                        said = {**entries, **speeds, "samples_per_s/loader": supply}
                        self.log.write(stage, step, said)
                        if step - first <= _LOG_EVERY:
                            speed = speeds["samples_per_s/step"]
                            bar.console.print(verdict(supply, speed, training.workers))
                    told = "  ".join(f"{name} {value:.3f}" for name, value in entries.items())
                    pace = f"{speeds['samples_per_s/trained']:.1f} samples/s"
                    bar.update(task, told=told, speed=pace)
                    clock.restart()
                began = time.perf_counter()
                every = training.validate_every
                if every and (step % every == 0 or last):
                    last = self._validate(stage, step) or last
                if step % training.checkpoint_every == 0 or last:
                    self._save(Progress(stage, step, last, *self.done[3:]), optimizer)
                clock.leave_out(time.perf_counter() - began)
                bar.advance(task)
                if last:
                    return

    def _step(
        self,
        losses: _FabricModule,
        optimizer: Optimizer,
        batches: Iterator[Sample],
        noise: torch.Generator,
    ) -> dict[str, torch.Tensor]:
        """One optimiser step; the losses of this process's share of the batch."""
        totals: dict[str, torch.Tensor] = {}
        state = noise.get_state()
        for turn in range(self.parts.accumulate):
            more = turn + 1 < self.parts.accumulate
            with self.fabric.no_backward_sync(losses, enabled=more):
                values = losses(next(batches), noise.set_state(state), self.parts.part(turn))
                self.fabric.backward(values["loss"] / self.parts.accumulate)
            for name, value in values.items():
                share = value.detach() / self.parts.accumulate
                totals[name] = totals[name] + share if name in totals else share
        self.fabric.clip_gradients(
            losses,
            optimizer,
            max_norm=self.config.training.clip,
            error_if_nonfinite=False,  # `_shared` raises; float16's scaler skips the step
        )
        optimizer.step()
        optimizer.zero_grad()
        self.average.update_parameters(self.model)
        return totals

    def _shared(self, values: dict[str, torch.Tensor]) -> dict[str, float]:
        """Losses of the whole batch, on every process."""
        stacked = torch.stack(list(values.values()))
        mean = self.fabric.all_reduce(stacked, reduce_op="mean")
        assert isinstance(mean, torch.Tensor)  # as a tensor went in
        if not mean.isfinite().all():
            raise KSDiffError(
                "training diverged: a loss is not finite; start anew with a lower "
                "training.learning_rate, a longer training.warmup or precision 32-true"
            )
        return dict(zip(values, mean.tolist(), strict=True))

    def _prepare(self, stage: int) -> tuple[_FabricModule, Optimizer, float]:
        training = self.config.training
        if stage == 2 and self.done.stage == 1:
            # Stage 2 goes on from the averaged weights: they give the better prior.
            self.model.load_state_dict(self.average.module.state_dict())
        losses = self.recipe.losses(self.model, self.config, stage)
        peak = training.learning_rate if stage == 1 else training.learning_rate_stage2
        trained = losses.parameters_to_train()
        # What is not trained takes no part in the exchange of gradients either.
        self.model.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW(trained, lr=peak, weight_decay=training.weight_decay)
        module, optimiser = self.fabric.setup(losses, optimizer)
        return module, optimiser, peak

    def _loader(self, stage: int, first: int, total: int) -> DataLoader:
        training = self.config.training
        # Stage 2 draws other samples than stage 1 did.
        offset = 0 if stage == 1 else training.steps_stage1
        own: Batches = self.parts.batches(offset + first, offset + total)
        kind = ScenarioSamples if self.config.model.bands == "any" else Samples
        return DataLoader(
            kind(self.config, (offset + total) * training.batch),
            batch_sampler=own,
            collate_fn=collate,
            num_workers=training.workers,
        )

    def _validate(self, stage: int, step: int) -> bool:
        """Score the scenes; True where the stage should end early."""
        patience = self.config.training.early_stopping
        if self.scenes:
            model = self.average.module.eval()
            assert isinstance(model, KSDiff)
            table = validate(model, self.scenes, stage)
            for name, scores in table.items():
                values = {f"SAM/{name}": scores.sam, f"ERGAS/{name}": scores.ergas}
                self.log.write(stage, step, values)
            figure = picture(model, self.scenes, stage)
            figure.savefig(self.folder / "validation.png", dpi=90)
            self.log.show(stage, step, figure)
            mean = sum(scores.ergas for scores in table.values()) / len(table)
            if mean < self.done.best:
                self.done = self.done._replace(best=mean, worse=0)
                if patience:
                    save_weights(self._best(stage), model, self.config)
            else:
                self.done = self.done._replace(worse=self.done.worse + 1)
        return bool(patience) and self.fabric.broadcast(self.done.worse) >= patience

    def _best(self, stage: int) -> Path:
        return self.folder / f"best-stage{stage}.safetensors"

    def _save(self, progress: Progress, optimizer: Optimizer) -> None:
        self.done = progress
        if self.main:
            precision = self.fabric.strategy.precision.state_dict()
            save_checkpoint(
                self.checkpoints, progress, self.model, self.average, optimizer, precision
            )
        self.fabric.barrier()


def _fabric(training: TrainingConfig) -> Fabric:
    world = World.of_environment()
    fabric = Fabric(
        accelerator=training.accelerator,
        devices=world.local,
        num_nodes=world.machines,
        strategy="ddp" if world.size > 1 else "auto",
        precision=cast("_PRECISION_INPUT", training.precision),  # which Fabric checks
    )
    fabric.launch()
    return fabric


def learning_rate_factor(step: int, total: int, training: TrainingConfig) -> float:
    """Linear warm-up, then a half cosine or a line down to 1 % of the peak, or the peak itself."""
    warm = min(1.0, step / max(training.warmup, 1))
    done = step / total
    fall = {
        "cosine": 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)),
        "linear": 0.01 + 0.99 * (1 - done),
        "constant": 1.0,
    }
    return warm * fall[training.schedule]


@contextmanager
def _bar(label: str, total: int, done: int, shown: bool) -> Iterator[tuple[Bar, TaskID]]:
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=7)),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}  {task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, disable=not shown) as bar:
        yield bar, bar.add_task(label, total=total, completed=done, told="", speed="-")
