"""Weights on disk: one safetensors file, its config in the header. No pickle is ever read."""

import hashlib
import json
from functools import lru_cache
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from ksdiff.config import Config, ModelConfig, config_from_dict, config_to_dict
from ksdiff.errors import KSDiffError
from ksdiff.models.ksdiff import KSDiff

_HEADER_KEY = "ksdiff_config"


def save_weights(path: str | Path, model: nn.Module, config: Config) -> None:
    """Write ``model``'s tensors and the whole config; the file appears at once or not at all."""
    path = Path(path)
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    content = save(tensors, {_HEADER_KEY: json.dumps(config_to_dict(config))})
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise KSDiffError(f"weights {path}: cannot be written: {error.strerror}") from None


def load_weights(name_or_path: str | Path) -> tuple[KSDiff, Config]:
    """The model, in evaluation mode on the CPU, and its config.

    Args:
        name_or_path: a bundled name (:func:`bundled`) or a .safetensors file of ``ksdiff train``.

    Raises:
        KSDiffError: no such weights, a corrupt file, one that is not KSDiff's, or one whose tensors
            do not fit its config.
    """
    path = _locate(name_or_path)
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise KSDiffError(f"weights {path}: not a readable safetensors file: {error}") from None
    if header is None:
        raise KSDiffError(
            f"weights {path}: a safetensors file, but not KSDiff's: its header has no {_HEADER_KEY}"
        )
    try:
        config = config_from_dict(json.loads(header), where=f"weights {path}")
    except json.JSONDecodeError as error:
        raise KSDiffError(
            f"weights {path}: the config in the header is not JSON: {error}"
        ) from None
    model = KSDiff(config.model)
    _check(path, tensors, model)
    model.load_state_dict(tensors)
    return model.eval(), config


def weights_hash(name_or_path: str | Path) -> str:
    """SHA-256 of a weights file, in hexadecimal digits; arguments as for `load_weights`."""
    return hashlib.sha256(_locate(name_or_path).read_bytes()).hexdigest()


def bundled() -> list[str]:
    """Names of the bundled weights."""
    return sorted(
        entry.name.removesuffix(".safetensors")
        for entry in resources.files("ksdiff").joinpath("weights").iterdir()
        if entry.name.endswith(".safetensors")
    )


def weights_for(bands: int, ratio: int, as_delivered: bool = False) -> str:
    """The bundled weights for a band count and a ratio: made for them, or for any.

    Args:
        as_delivered: whether the images are those of a known sensor, PAN as sharp as it makes it;
            weights for one band count were made for that.

    Raises:
        KSDiffError: there are none; the message lists what there is.
    """
    fits = {(model.bands, model.ratio): name for name, model in _bundled_models().items()}
    for shape in ((bands, ratio), ("any", "any")) if as_delivered else (("any", "any"),):
        if shape in fits:
            return fits[shape]
    raise KSDiffError(
        f"weights: none are bundled for {bands} bands at ratio {ratio} "
        f"(bundled: {', '.join(bundled()) or 'none'}); train your own with ksdiff train and pass "
        "them with --weights"
    )


def check_fit(name: str | Path, model: ModelConfig, bands: int, ratio: int) -> None:
    """Raise KSDiffError where weights are not for a scene of that band count and ratio."""
    if model.bands != "any" and (model.bands, model.ratio) != (bands, ratio):
        raise KSDiffError(
            f"weights {name}: for {model.bands} bands at ratio {model.ratio}, "
            f"but the scene has {bands} bands at ratio {ratio}"
        )


@lru_cache
def _bundled_models() -> dict[str, ModelConfig]:
    return {name: _header(name).model for name in bundled()}


def _header(name: str) -> Config:
    with safe_open(_locate(name), framework="pt") as file:
        return config_from_dict(json.loads(file.metadata()[_HEADER_KEY]))


def _locate(name_or_path: str | Path) -> Path:
    if str(name_or_path) in bundled():
        return Path(str(resources.files("ksdiff") / "weights" / f"{name_or_path}.safetensors"))
    path = Path(name_or_path)
    if not path.is_file():
        raise KSDiffError(
            f"weights {name_or_path}: neither a file nor bundled "
            f"(bundled: {', '.join(bundled()) or 'none'})"
        )
    return path


def _check(path: Path, tensors: dict[str, torch.Tensor], model: KSDiff) -> None:
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, shape in expected.items():
        if name not in tensors:
            raise KSDiffError(f"weights {path}: tensor {name} {tuple(shape)} is missing")
        if tensors[name].shape != shape:
            raise KSDiffError(
                f"weights {path}: tensor {name}: its config says {tuple(shape)}, "
                f"the file has {tuple(tensors[name].shape)}"
            )
        if not tensors[name].isfinite().all():
            raise KSDiffError(f"weights {path}: tensor {name} holds NaN or infinite values")
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise KSDiffError(f"weights {path}: unknown tensor {unknown[0]}")
