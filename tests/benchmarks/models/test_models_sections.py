"""What is timed and scored: networks, modes, scenes; and what happens where something lacks."""

import dataclasses

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

pytest.importorskip("diffusers", reason="the baseline's schedulers; pip install '.[test]'")

from benchmarks import results
from benchmarks.models import __main__ as command
from benchmarks.models import quality, sections
from benchmarks.models.contenders import (
    BF16,
    EAGER,
    FEATURES,
    KSDIFF,
    NO_PRIOR,
    SMALL,
    OnePass,
    contenders,
    networks,
    on_unfold,
)
from benchmarks.models.pixel_diffusion import PixelDiffusion
from ksdiff.config import load_config
from ksdiff.errors import KSDiffError
from ksdiff.images.pair import ArrayPair
from ksdiff.inference.scene import PreparedScene
from ksdiff.models.backbones import LAGNet
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import save_weights
from ksdiff.sensors import sensor_for
from ksdiff.training.validation import Scene
from tests.support.benchmarks import MACHINE
from tests.support.models import random_inputs, small_config


@pytest.fixture
def inputs():
    return random_inputs(2, 4, 32, 48)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """`measured(*sections)` runs the command on made-up sections into ``tmp_path``."""
    monkeypatch.setattr(results, "header", lambda device: dict(MACHINE))
    monkeypatch.setattr(command, "networks", lambda device, only: dict.fromkeys(only or "ab"))
    monkeypatch.setattr(command, "keep_freed_memory", lambda: None)

    def section(found, device, budget):
        return [{"name": name, "p50": budget} for name in found]

    monkeypatch.setattr(command, "TIMED", {"latency": section, "growth": section})
    path = tmp_path / "models.json"
    return path, lambda *sections, **options: command.main(sections, json=path, **options)


def test_a_section_takes_the_place_of_its_rows_of_before(measured):
    path, measure = measured
    measure("growth", "latency")
    measure("growth", only=["b"])
    rows = [(row["section"], row["name"], row["p50"]) for row in results.read(path).rows]
    assert rows == [("latency", "a", 40.0), ("latency", "b", 40.0), ("growth", "b", 40.0)]


def test_what_cannot_be_measured_is_told_and_leaves_the_file(measured, monkeypatch, tmp_path):
    path, measure = measured
    results.write(path, MACHINE | {"threads": 4}, [])
    monkeypatch.setenv("KSDIFF_DATA", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for section, options, problem in (
        ("latency", {}, "measured with another threads: 4 / 2"),
        ("quality-8", {}, "KSDIFF_DATA=DIR"),
        ("speed", {}, "section 'speed': expected one of latency, growth, quality-8"),
        ("latency", {"device": "cuda"}, "PyTorch sees no CUDA device"),
    ):
        with pytest.raises(SystemExit, match=problem):
            measure(section, **options)
    assert results.read(path).rows == []
    with pytest.raises(KSDiffError, match=f"--only 'x': expected some of {KSDIFF}"):
        networks("cpu", only=["x"])


def test_what_is_trained_is_scored_and_the_rest_named_with_its_command(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    for stem in ("pixel-s", "dicnn"):
        config = load_config(quality.CONFIGS / f"{stem}-4band.yaml")
        network = PixelDiffusion(4) if stem == "pixel-s" else KSDiff(config.model)
        folder = tmp_path / config.training.run_dir
        folder.mkdir(parents=True)
        save_weights(folder / "weights.safetensors", network, config)
    inputs = random_inputs(1, 4, 64, 64)
    pair = ArrayPair(inputs.pan[0] + 3, inputs.lms[0, :, ::4, ::4])
    scene = Scene("town", PreparedScene.of(pair, sensor_for(None, 4, 4)), inputs.lms.roll(1, -1))
    monkeypatch.setattr(quality, "SEEDS", (0,))
    monkeypatch.setattr(quality, "_MOST", 4 * 64 * 64)
    monkeypatch.setattr(quality, "validation_scenes", lambda config: [scene])
    rows = quality.quality(4, {}, "cpu", 1.0)
    said = capsys.readouterr().out
    for name in (FEATURES, "fusionnet", "lagnet"):
        assert f"{name}: skipped" in said
    assert "ksdiff train" in said and "fusionnet-4band.yaml makes it" in said
    pixel = {f"{SMALL}, {name}" for name in ("DDIM-1", "DDIM-4", "DPM-Solver++-4")}
    both = {KSDIFF, NO_PRIOR, "dicnn", *pixel}
    names = {mode: {r["name"] for r in rows if r["mode"] == mode} for mode in (EAGER, BF16)}
    assert names[BF16] == both
    latent = {f"{KSDIFF}, {steps} latent steps" for steps in (1, 2, 3, 4)}
    assert names[EAGER] == both | latent | {quality.PIPELINE}


def test_what_is_timed_is_ksdiff_as_it_is_scored(inputs):
    model = KSDiff(small_config()).eval()
    torch.nn.init.normal_(model.network.head.weight)  # untrained it is zero and hides the kernels
    one = inputs.first()
    with torch.no_grad():
        ways = {c.name: c for c in contenders({KSDIFF: model}, "cpu")}
        noise = torch.Generator().manual_seed(5)
        expected = model.fuse(one, model.estimate_kernels(one, noise))
        assert torch.equal(ways[KSDIFF].run(one, 5), expected)
        assert not torch.equal(ways[NO_PRIOR].run(one), expected)


def test_lagnet_on_unfold_is_the_same_network(inputs):
    torch.manual_seed(0)
    ours = OnePass(LAGNet(4, width=8, blocks=1))
    torch.testing.assert_close(on_unfold(ours)(inputs), ours(inputs))


def test_samplers_are_timed_in_every_mode_as_far_as_they_take_bearable_time(monkeypatch):
    found = {KSDIFF: KSDiff(small_config()), SMALL: PixelDiffusion(4, widths=(8, 16))}

    def instant(*arguments):
        ways = contenders(*arguments)
        return [dataclasses.replace(way, run=lambda inputs, seed=0: None) for way in ways]

    monkeypatch.setattr(sections, "contenders", instant)
    modes = {}
    for row in sections._latency(found, (EAGER, BF16), "cpu", 4, 0.1):
        modes.setdefault(row["name"], set()).add(row["mode"])
    names = {KSDIFF, NO_PRIOR, *(f"{SMALL}, {name}" for name in PixelDiffusion.samplers)}
    assert set(modes) == names - {f"{SMALL}, DDPM-1000"}
    assert all(own == {EAGER, BF16} for own in modes.values())


def test_without_a_compiler_the_other_modes_are_measured(capsys, inputs):
    def broken(*_):
        raise TorchDynamoException("no C++ compiler")

    way = contenders({KSDIFF: KSDiff(small_config())}, "cpu")[0]
    assert sections._ready([dataclasses.replace(way, run=broken)], inputs) == []
    said = capsys.readouterr().out
    assert "no C++ compiler" in said and "python -m benchmarks.models latency" in said


def test_a_whole_scene_is_timed_with_its_halves_and_its_peak(monkeypatch):
    monkeypatch.setattr(sections, "SCENES", (64, 128))
    rows = sections.scene({}, "cpu", 0.0)
    table = {(row["size"], row["name"]): row for row in rows}
    assert set(table) == {(s, n) for s in (64, 128) for n in ("whole", "prior", "network")}
    for size in (64, 128):
        whole = table[size, "whole"]
        halves = table[size, "prior"]["p50"] + table[size, "network"]["p50"]
        assert 0 < halves < whole["p50"]
        assert whole["peak_bytes"] is None or whole["peak_bytes"] > 0
        assert whole["pixels_seen"] == size**2  # one window is enough


def test_a_baseline_of_the_trainer_is_the_published_network(inputs):
    config = load_config(quality.CONFIGS / "dicnn-4band.yaml")
    model = KSDiff(config.model).eval()
    with torch.no_grad():
        prior = model.target_prior(inputs, inputs.lms)
        torch.testing.assert_close(OnePass(model.network.module)(inputs), model(inputs, prior))
