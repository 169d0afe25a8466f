"""The paper's ablations: many small trainings, each in a folder of its own."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from ksdiff.config import Config, config_from_dict, config_to_dict, merged, with_base
from ksdiff.errors import KSDiffError
from ksdiff.evaluation.prior import inspect_prior
from ksdiff.io.outputs import atomic
from ksdiff.models.weights import load_weights
from ksdiff.training.trainer import run
from ksdiff.training.validation import Scene, validate, validation_scenes

_KEYS = {"folder", "seeds", "base", "tables"}


@dataclass(frozen=True)
class Table:
    title: str
    reference: str  # the row that the others are compared with
    rows: dict[str, Config]


@dataclass(frozen=True)
class Ablation:
    folder: Path
    seeds: tuple[int, ...]
    tables: tuple[Table, ...]

    def runs(self) -> dict[str, Config]:
        """Every training once, by the name of its folder; equal rows share one."""
        found = {}
        for table in self.tables:
            for config in table.rows.values():
                for seed in self.seeds:
                    found[run_name(config, seed)] = self.run_config(config, seed)
        return found

    def run_config(self, config: Config, seed: int) -> Config:
        folder = self.folder / run_name(config, seed)
        training = dataclasses.replace(config.training, run_dir=str(folder), seed=seed)
        return dataclasses.replace(config, training=training)

    def results(self, config: Config) -> list[dict]:
        """What ``train`` wrote for each seed."""
        return [
            json.loads((self.folder / run_name(config, seed) / "result.json").read_text())
            for seed in self.seeds
        ]


def run_name(config: Config, seed: int) -> str:
    """Name of a run's folder, different for every config and seed."""
    training = dataclasses.replace(config.training, run_dir="", seed=seed)
    text = json.dumps(config_to_dict(dataclasses.replace(config, training=training)))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]}-seed{seed}"


def load_ablation(path: str | Path) -> Ablation:
    """Read an ablation's YAML: ``folder``, ``seeds``, ``base`` and ``tables``.

    ``base`` is a training config: its fields, or what `ksdiff.config.with_base` finds by a name. A
    table has a ``title``, a ``reference`` and ``rows``: names with what they change in ``base``,
    nested as in the config.

    Raises:
        KSDiffError: naming what is missing, unknown or of the wrong kind.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise KSDiffError(f"ablation {path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KSDiffError(f"ablation {path}: not readable as YAML: {error}") from None
    if not isinstance(values, dict) or set(values) != _KEYS:
        raise KSDiffError(f"ablation {path}: expected the keys {', '.join(sorted(_KEYS))}")
    seeds, base, tables = values["seeds"], values["base"], values["tables"]
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise KSDiffError(f"ablation {path}: seeds: expected a list of integers, got {seeds!r}")
    if not isinstance(tables, list) or not tables:
        raise KSDiffError(f"ablation {path}: tables: expected a list of them, got {tables!r}")
    if not isinstance(base, (dict, str)):
        raise KSDiffError(f"ablation {path}: base: expected a config or its name, got {base!r}")
    fields = with_base({"base": base} if isinstance(base, str) else base, path, f"ablation {path}")
    return Ablation(
        Path(str(values["folder"])),
        tuple(seeds),
        tuple(_table(table, fields, f"ablation {path}: tables") for table in tables),
    )


def train(ablation: Ablation, step: Callable[[str], None] = lambda text: None) -> None:
    """Train and evaluate what is not finished; interrupted trainings resume.

    Raises:
        KSDiffError: no validation scenes with truth, and what training raises.
    """
    runs = ablation.runs()
    scenes: dict[str, list[Scene]] = {}
    for number, (name, config) in enumerate(runs.items(), start=1):
        result = ablation.folder / name / "result.json"
        if result.exists():
            continue
        step(f"run {number} of {len(runs)}: {name}")
        key = repr((config.data, config.model.bands, config.model.ratio))
        if key not in scenes:
            scenes[key] = validation_scenes(config)
        if not scenes[key]:
            raise KSDiffError(
                "ablation: data.validation (or data.valid_h5) holds no scenes with truth of "
                f"{config.model.bands} bands at ratio {config.model.ratio}"
            )
        began = time.perf_counter()
        checkpoints = Path(config.training.run_dir) / "checkpoints"
        weights = run(config, resume=any(checkpoints.glob("stage*")))
        values = _judged(weights, scenes[key], time.perf_counter() - began)
        with atomic(result) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n")


def _judged(weights: Path, scenes: list[Scene], seconds: float) -> dict:
    model, config = load_weights(weights)
    table = validate(model, scenes, stage=2)
    prior = None
    if config.model.prior.source == "diffusion":
        prior = inspect_prior(model, scenes).as_dict()
    return {
        "scenes": {name: scores._asdict() for name, scores in table.items()},
        "prior": prior,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": seconds,
    }


def _table(values: object, base: dict, where: str) -> Table:
    if not isinstance(values, dict) or set(values) != {"title", "reference", "rows"}:
        raise KSDiffError(f"{where}: expected title, reference and rows, got {values!r}")
    title, reference, rows = values["title"], values["reference"], values["rows"]
    if not isinstance(rows, dict) or reference not in rows:
        raise KSDiffError(f"{where}: {title}: the reference {reference!r} is not one of its rows")
    configs = {
        str(name): config_from_dict(merged(base, changes or {}), f"{where}: {title}: {name}")
        for name, changes in rows.items()
    }
    return Table(str(title), str(reference), configs)
