"""Trains a baseline on KSDiff's samples: `python -m benchmarks.models.train CONFIG.yaml [--resume]`

The data, the crop's margin, batch, warm-up, weight decay, gradient clipping and averaging are those
of the KSDiff config that CONFIG names as its base; so is the loss, L1 to the truth. Steps and
learning rate are CONFIG's own. A run that was killed goes on from its checkpoint with --resume, to
the result it would have had.
"""

import argparse
import json
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from benchmarks.models.one_pass import OnePass
from benchmarks.models.pixel_diffusion import PixelDiffusion
from ksdiff.config import Config, load_config
from ksdiff.errors import KSDiffError
from ksdiff.training.augment import collate
from ksdiff.training.samples import Samples
from ksdiff.training.trainer import learning_rate_factor

CONFIGS = Path(__file__).parent / "configs"
NETWORKS = {"pixel-diffusion": PixelDiffusion, "one-pass": OnePass}
_HEADER_KEY = "baseline"
_CHECKPOINT_EVERY = 100
_LOG_EVERY = 50
_CALIBRATION = 64  # samples


@dataclass(frozen=True)
class BaselineConfig:
    method: str  # one of NETWORKS
    base: str  # a config of ksdiff/configs by name, or any by its path
    run_dir: str
    steps: int
    learning_rate: float
    network: dict = field(default_factory=dict)  # its keyword arguments, without the bands

    def build(self) -> nn.Module:
        return NETWORKS[self.method](self.ksdiff.model.bands, **self.network)

    @property
    def ksdiff(self) -> Config:
        bundled = resources.files("ksdiff") / "configs" / f"{self.base}.yaml"
        return load_config(str(bundled) if bundled.is_file() else self.base)


def load_baseline_config(path: str | Path) -> BaselineConfig:
    """Read a YAML of BaselineConfig's keys; KSDiffError where it has others or lacks one."""
    try:
        values = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise KSDiffError(f"config {path}: not readable as YAML: {error}") from None
    known = [entry.name for entry in fields(BaselineConfig)]
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise KSDiffError(f"config {path}: expected a mapping with the keys {', '.join(known)}")
    if values.get("method") not in NETWORKS:
        raise KSDiffError(
            f"config {path}: method: expected one of {', '.join(NETWORKS)}, "
            f"got {values.get('method')!r}"
        )
    try:
        return BaselineConfig(**values)
    except TypeError as error:
        raise KSDiffError(f"config {path}: {error}") from None


def save_baseline(path: Path, network: nn.Module, config: BaselineConfig) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, {_HEADER_KEY: json.dumps(asdict(config))})


def load_baseline(path: str | Path) -> tuple[nn.Module, BaselineConfig]:
    """The network, in evaluation mode on the CPU, of a file that this module has written."""
    if not Path(path).is_file():
        raise KSDiffError(f"baseline weights {path}: there is no such file")
    with safe_open(path, framework="pt") as file:
        header = (file.metadata() or {}).get(_HEADER_KEY)
        if header is None:
            raise KSDiffError(f"baseline weights {path}: the header has no {_HEADER_KEY}")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    config = BaselineConfig(**json.loads(header))
    network = config.build()
    network.load_state_dict(tensors)
    return network.eval(), config


def train(config: BaselineConfig, resume: bool = False) -> Path:
    """Train and return the file of the averaged weights, ``run_dir``/weights.safetensors."""
    ksdiff, folder = config.ksdiff, Path(config.run_dir)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists() != resume:
        state = "a run already; give --resume" if checkpoint.exists() else "no run to resume"
        raise KSDiffError(f"run_dir {folder}: holds {state}, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(ksdiff.training.seed)
    network = config.build()
    batch, margin = ksdiff.training.batch, ksdiff.data.margin
    samples = Samples(ksdiff, config.steps * batch)
    if isinstance(network, PixelDiffusion) and not resume:
        few = collate([samples[index] for index in range(_CALIBRATION)])
        network.calibrate(few.inputs, few.gt)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ksdiff.training.ema))
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=ksdiff.training.weight_decay)
    first = 0
    if resume:
        saved = torch.load(checkpoint, weights_only=True)
        first = saved["step"]
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
    loader = DataLoader(
        samples,
        batch_size=batch,
        sampler=range(first * batch, config.steps * batch),
        collate_fn=collate,
    )
    noise = torch.Generator()
    losses = []
    for step, sample in enumerate(loader, start=first + 1):
        for group in optimizer.param_groups:
            factor = learning_rate_factor(step, config.steps, ksdiff.training)
            group["lr"] = config.learning_rate * factor
        noise.manual_seed(ksdiff.training.seed * 10**9 + step)
        loss = network.loss(sample.inputs, sample.gt, margin, noise)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), ksdiff.training.clip)
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.item())
        if step % _LOG_EVERY == 0 or step == config.steps:
            mean = sum(losses) / len(losses)
            print(f"step {step} of {config.steps}: mean loss {mean:.4f}", flush=True)
            losses.clear()
        if step % _CHECKPOINT_EVERY == 0 or step == config.steps:
            state = {
                "step": step,
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            partial = checkpoint.with_suffix(".part")
            torch.save(state, partial)
            partial.replace(checkpoint)
    weights = folder / "weights.safetensors"
    save_baseline(weights, average.module, config)
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help=f"YAML; ours are in {CONFIGS.name}/")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    arguments = parser.parse_args()
    print(train(load_baseline_config(arguments.config), arguments.resume))


if __name__ == "__main__":
    main()
