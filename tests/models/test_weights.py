import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from ksdiff.config import Config, config_to_dict
from ksdiff.errors import KSDiffError
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import bundled, load_weights, save_weights, weights_for
from tests.support.models import small_config


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    config = Config(model=small_config())
    model = KSDiff(config.model)
    path = tmp_path / "weights.safetensors"
    save_weights(path, model, config)
    return path, model, config


def _rewrite(path, change):
    """Save the file again after ``change`` of its tensors, header kept."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, header)


def test_what_is_saved_is_loaded(saved):
    path, model, config = saved
    loaded, loaded_config = load_weights(path)
    assert loaded_config == config
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("written", [1, 4, None])
def test_the_latent_steps_are_those_of_the_header_or_else_the_default(saved, written):
    path, _, config = saved
    values = config_to_dict(config)
    values["model"]["diffusion"].pop("sampling_steps")
    if written:
        values["model"]["diffusion"]["sampling_steps"] = written
    save_file(load_file(path), path, {"ksdiff_config": json.dumps(values)})
    model, loaded = load_weights(path)
    assert loaded.model.diffusion.sampling_steps == (written or 1)
    assert model.config == loaded.model


def test_a_missing_name_lists_what_there_is():
    with pytest.raises(KSDiffError, match="weights nonsense: neither a file nor bundled"):
        load_weights("nonsense")


@pytest.mark.parametrize("content", [b"", b"not weights at all", pickle.dumps({"a": 1})])
def test_a_corrupt_or_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(KSDiffError, match="not a readable safetensors file"):
        load_weights(path)


def test_a_truncated_file_is_refused(saved):
    path = saved[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(KSDiffError, match="not a readable safetensors file"):
        load_weights(path)


def test_safetensors_of_another_program_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(KSDiffError, match="not KSDiff's: its header has no ksdiff_config"):
        load_weights(path)


def test_a_header_with_an_unknown_key_is_refused(tmp_path):
    path = tmp_path / "future.safetensors"
    save_file({"a": torch.zeros(2)}, path, {"ksdiff_config": json.dumps({"optimism": 1})})
    with pytest.raises(KSDiffError, match="unknown key 'optimism'"):
        load_weights(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("network.stem.weight"), "tensor network.stem.weight .* is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "unknown tensor extra"),
        (lambda t: t.update({"network.stem.bias": torch.zeros(3)}), r"the file has \(3,\)"),
        (lambda t: t["network.stem.bias"].fill_(float("nan")), "holds NaN or infinite"),
    ],
)
def test_tensors_that_do_not_fit_the_config_are_refused(saved, change, message):
    path = saved[0]
    _rewrite(path, change)
    with pytest.raises(KSDiffError, match=message):
        load_weights(path)


def test_an_unwritable_path_is_named(tmp_path):
    config = Config(model=small_config())
    with pytest.raises(KSDiffError, match="cannot be written"):
        save_weights(tmp_path / "missing" / "w.safetensors", KSDiff(config.model), config)


def test_every_bundled_file_loads_and_is_found_by_its_bands():
    for name in bundled():
        model, config = load_weights(name)
        assert weights_for(config.model.bands, config.model.ratio, as_delivered=True) == name
        assert sum(p.numel() for p in model.parameters()) <= 1.5e6


def test_bands_and_ratios_without_weights_of_their_own_take_those_for_any():
    assert weights_for(4, 4, as_delivered=True) == "ksdiff-s-4band"
    assert weights_for(4, 4) == "ksdiff-s"
    for bands, ratio in ((1, 4), (3, 2), (4, 6), (10, 5)):
        assert weights_for(bands, ratio, as_delivered=True) == "ksdiff-s"


def test_a_band_count_without_weights_says_what_to_do(monkeypatch):
    monkeypatch.setattr("ksdiff.models.weights._bundled_models", dict)
    with pytest.raises(
        KSDiffError, match=r"none are bundled for 13 bands at ratio 4.*ksdiff train"
    ):
        weights_for(13, 4)
