"""The configuration: one dataclass tree, read from YAML and saved beside every checkpoint."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ksdiff.errors import KSDiffError

_BUNDLED = Path(__file__).parent / "configs"

_Built = typing.TypeVar("_Built")
Number = int | typing.Literal["any"]


@dataclass(frozen=True)
class PriorConfig:
    """The latent prior z [tokens, channels] and the encoders (PLFE) that give it.

    None of these are published; the values are our defaults.
    """

    patch: int = 4  # PAN pixels per side of an encoder's pixel: the prior is global, not sharp
    tokens: int = 16  # a square number: z comes from a sqrt(tokens) x sqrt(tokens) grid
    channels: int = 32
    levels: int = 3  # M, the levels of the pyramid
    width: int = 32  # of PLFE1; PLFE2 has half of it
    heads: int = 4
    encoder: str = "plfe"  # or concat: plain convolutions of the concatenated images
    # direct: the condition itself, without diffusion; none: one learnt constant for every scene
    source: str = "diffusion"


@dataclass(frozen=True)
class DiffusionConfig:
    """Latent DDPM; schedule after DiffIR."""

    steps: int = 4  # T, all of them taken in training
    sampling_steps: int = 1  # DDIM evaluations at inference, at most ``steps``
    beta_start: float = 0.1
    beta_end: float = 0.99
    width: int = 96
    depth: int = 3
    predict: str = "z0"  # what the denoiser predicts; or noise


@dataclass(frozen=True)
class KernelConfig:
    """The Tucker product that modulates convolutions."""

    ranks: tuple[int, int, int, int] = (4, 4, 2, 2)
    patch: int = 4  # PAN pixels per side of a pixel of the local features
    width: int = 32  # of the factor generator's backbone and attention
    heads: int = 4
    # tucker, mlp (every element of W from an MLP), plain (base kernels), or features (base kernels,
    # their outputs scaled and shifted, as in DiffIR)
    generator: str = "tucker"
    layers: tuple[str, ...] = ()  # names (patterns) in a plug-in network; all by default


@dataclass(frozen=True)
class InjectionConfig:
    """The per-pixel head. ``mode``: lowrank, full (one free kernel per pixel) or off."""

    mode: str = "lowrank"
    # At inference, the shares of what was learnt that depart from high-pass modulation: of the
    # per-pixel kernels and of the residual. On sensors that training has not seen, less is better.
    strength: float = 1.0
    residual_strength: float = 1.0
    kernel_size: int = 5
    rank: int = 4


@dataclass(frozen=True)
class ModelConfig:
    bands: Number = 4  # or any: one network for any bands at any ratio
    ratio: Number = 4  # with bands: any, any
    band_basis: int = 16  # with bands: any, the learnt slices that a band's kernels are mixed from
    # pannext-u with the injection head, or a plug-in: dicnn, fusionnet, lagnet.
    network: str = "pannext-u"
    widths: tuple[int, ...] = (
        48,
        96,
    )  # channels of PanNeXt-U per level, first at half the PAN grid
    depths: tuple[int, ...] = (2, 2)  # ConvNeXt blocks per level
    expansion: int = 2  # of the blocks' pointwise convolutions
    prior: PriorConfig = field(default_factory=PriorConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    kernels: KernelConfig = field(default_factory=KernelConfig)
    injection: InjectionConfig = field(default_factory=InjectionConfig)


@dataclass(frozen=True)
class DataConfig:
    """Sources of training pairs, and how samples are varied."""

    scenes: str = "${KSDIFF_DATA}/train"  # a folder of NAME_pan.tif, NAME_ms.tif[, NAME_gt.tif]
    validation: str = "${KSDIFF_DATA}/val"
    # With bands: any, besides `scenes`; "" leaves one out. Without `validation`, it is on what
    # `ksdiff.training.held_out` names of the three.
    pairs: str = "${KSDIFF_DATA}/pairs"  # another folder of scenes
    ms_only: str = "${KSDIFF_DATA}/ms_only"  # NAME_ms.tif and scenes.json
    train_h5: str = ""  # PanCollection files instead of scenes
    valid_h5: str = ""
    sensor: str = ""  # for PanCollection files, which do not say
    crop: int = 64  # PAN pixels, a multiple of 8 and of the ratio
    margin: int = 8  # pixels at a crop's rim without loss: their low-pass misses its neighbours
    exclude: tuple[str, ...] = ()  # scene names left out
    halved: bool = False  # every scene at half its resolution as well: sharper truths
    # Native MS images whose measured MTF has less than this gain at Nyquist serve halved only.
    least_gain: float = 0.0
    bicubic_pan: bool = True  # PAN degraded by bicubic, too, not only by MTFs
    gain_jitter: float = 0.06  # uniform, added to the MTF gains
    shift_jitter: float = 0.05  # PAN pixels, standard deviation of simulated misregistrations
    # If given, from and to: truths are sharpened until they hold that share of PAN's detail.
    detail_gain: tuple[float, ...] = ()
    radiometric_jitter: float = 0.1  # relative, of the scene statistics
    haze: float = 1.0  # strength of added or removed haze; 0 leaves bands as they are
    delivered_share: float = 0.5  # of samples that take the MS as delivered, where there is one
    mixed_bands: float = 0.0  # share of samples from scenes of another band count, bands mixed


@dataclass(frozen=True)
class TrainingConfig:
    run_dir: str = "runs/ksdiff"
    start: str = ""  # weights to start from, a bundled name or a file; their config must fit
    seed: int = 0
    batch: int = 8  # samples of an optimiser step, over all processes and accumulated parts
    accumulate: int = 1  # parts of its share of a batch that a process takes one after another
    steps_stage1: int = 3000
    steps_stage2: int = 2000
    learning_rate: float = 1e-3
    learning_rate_stage2: float = 5e-4
    weight_decay: float = 1e-4
    warmup: int = 100
    schedule: str = "cosine"  # of the learning rate after the warm-up: cosine, linear or constant
    ema: float = 0.999
    clip: float = 1.0
    fusion_weight: float = 1.0  # lambda of stage 2
    joint: bool = True  # stage 2 trains the rest, too; otherwise only PLFE2 and the denoiser
    validate_every: int = 500  # steps, and at the end of a stage; 0: never
    early_stopping: int = 0  # end a stage after so many validations without a lower mean ERGAS
    checkpoint_every: int = 250
    workers: int = 1  # processes that make samples
    accelerator: str = "auto"
    precision: str = "32-true"


@dataclass(frozen=True)
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def config_to_dict(config: Config) -> dict:
    return {key: _plain(value) for key, value in dataclasses.asdict(config).items()}


def config_from_dict(values: object, where: str = "config") -> Config:
    """Build a Config from nested dicts; an unknown key or a wrong type is a KSDiffError."""
    return _build(Config, values, where)


def bundled_configs() -> list[str]:
    """Names of the configs that come with the package."""
    return sorted(path.stem for path in _BUNDLED.glob("*.yaml"))


def load_config(name_or_path: str | Path) -> Config:
    """Read a YAML file, or a bundled config by its name; a file of that name takes precedence.

    A file with the key ``base`` overrides fields of that one, see `with_base`.
    """
    path = _located(name_or_path) or Path(name_or_path)
    return config_from_dict(with_base(_read(path), path, f"config {path}"), where=str(path))


def with_base(values: dict, path: Path, where: str) -> dict:
    """The fields ``values`` of a config, and those of its ``base`` where it has none.

    ``base`` is the name of a bundled config or a path relative to ``path``, the file that names it.
    That config may have a base of its own.

    Args:
        where: how errors call ``path``.

    Raises:
        KSDiffError: there is no such config, or it leads back to itself.
    """
    seen = [path.resolve()]
    while "base" in values:
        base = values["base"]
        found = _located(base, path.parent) if isinstance(base, str) else None
        if found is None:
            raise KSDiffError(
                f"{where}: base: expected one of {', '.join(bundled_configs())} or a file in "
                f"{path.parent.absolute()}, got {base!r}"
            )
        if found.resolve() in seen:
            raise KSDiffError(f"{where}: base: {base!r} leads back to itself")
        seen.append(found.resolve())
        changes = {key: value for key, value in values.items() if key != "base"}
        path, where, values = found, f"config {found}", merged(_read(found), changes)
    return values


def merged(base: typing.Any, changes: typing.Any) -> typing.Any:
    """``base`` with the leaves of ``changes`` in their places; both as read from YAML."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    return base | {key: merged(base.get(key, {}), value) for key, value in changes.items()}


def _located(name: str | Path, folder: Path = Path()) -> Path | None:
    """The file of that name in a folder, else a bundled config's; None if there is neither."""
    bundled = _BUNDLED / f"{name}.yaml"
    if (folder / name).is_file():
        return folder / name
    return bundled if str(name) in bundled_configs() else None


def _read(path: Path) -> dict:
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise KSDiffError(
            f"config {path}: there is no such file; the bundled configs are "
            f"{', '.join(bundled_configs())}"
        ) from None
    except IsADirectoryError:
        raise KSDiffError(f"config {path}: is a folder, expected a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KSDiffError(f"config {path}: not readable as YAML: {error}") from None
    if not isinstance(values or {}, dict):
        raise KSDiffError(f"{path}: expected a mapping of fields, got {values!r}")
    return values or {}


def save_config(config: Config, path: str | Path) -> None:
    Path(path).write_text(yaml.safe_dump(config_to_dict(config), sort_keys=False))


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return value


def _build(kind: type[_Built], values: object, where: str) -> _Built:
    if not isinstance(values, dict):
        raise KSDiffError(f"{where}: expected a mapping of fields, got {values!r}")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints), key=str)
    if unknown:
        raise KSDiffError(f"{where}: unknown key {unknown[0]!r}; known keys are {', '.join(hints)}")
    return kind(
        **{key: _convert(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    )


def _convert(hint: typing.Any, value: object, where: str) -> object:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, where)
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        fixed = kinds[-1] is not Ellipsis
        if not isinstance(value, (list, tuple)) or (fixed and len(value) != len(kinds)):
            length = f"{len(kinds)} " if fixed else ""
            raise KSDiffError(
                f"{where}: expected a list of {length}{kinds[0].__name__}, got {value!r}"
            )
        return tuple(_convert(kinds[0], entry, where) for entry in value)
    if hint == Number:
        if value == "any":
            return value
        if not isinstance(value, int) or isinstance(value, bool):
            raise KSDiffError(f"{where}: expected int or any, got {value!r}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise KSDiffError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value
