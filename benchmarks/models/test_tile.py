"""One tile through KSDiff: the whole path, its parts, and what it would cost without the prior."""

import pytest
import torch
from torch import nn

from benchmarks.machine import synchronised_time
from ksdiff.config import ModelConfig
from ksdiff.images.inputs import FusionInputs, SceneStatistics, fusion_inputs, to_dn
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.ksdiff import Kernels, KSDiff
from ksdiff.models.weights import bundled, load_weights
from ksdiff.sensors import sensor_for
from ksdiff.synthetic.scene import procedural_scene

pytestmark = pytest.mark.benchmark(timer=synchronised_time)

SIZE, BANDS, RATIO = 256, 8, 4
PARTS = {
    "eager": (
        *("inputs", "prior", "fusion network", "base network"),
        *("prior + fusion", "whole path", "Sharpener.sharpen", "plain network"),
    ),
    "compiled": ("prior", "fusion network", "base network", "prior + fusion", "plain network"),
}
WEIGHTS, CONFIG = "ksdiff-s-8band", ModelConfig(bands=BANDS, ratio=RATIO)


class Tile:
    """A procedural tile on a device, and the network that fuses it."""

    def __init__(self, device: str) -> None:
        pan, ms, _ = procedural_scene(seed=0, size=SIZE, bands=BANDS, ratio=RATIO)
        self.pan, self.ms = (
            torch.from_numpy(image.astype("float32"))[None].to(device) for image in (pan, ms)
        )
        self.statistics = SceneStatistics.of(self.pan[0], self.ms[0])
        self.gains = sensor_for("wv3", BANDS, RATIO).ms_gains
        # Time does not depend on what the weights are, only on the config beside them.
        model = load_weights(WEIGHTS)[0] if WEIGHTS in bundled() else KSDiff(CONFIG)
        self.model = model.eval().to(device)
        self.sharpener = Sharpener(self.model, sensor="wv3", device=device)
        self.noise = torch.randn_like(self.model.condition(self.inputs()))
        eager = self.prior, self.model.fuse, PlainNetwork().eval().to(device)
        compiled = tuple(torch.compile(function, dynamic=False) for function in eager)
        self.networks = {"eager": eager, "compiled": compiled}

    def inputs(self) -> FusionInputs:
        phase = (RATIO // 2, RATIO // 2)
        return fusion_inputs(self.pan, self.ms, self.gains, RATIO, phase, self.statistics)

    def prior(self, inputs: FusionInputs) -> Kernels:
        """PLFE2, sampling and kernel generation."""
        return self.model.estimate_kernels(inputs, noise=self.noise)

    def base_kernels(self) -> Kernels:
        """The network without its prior: base kernels as they are, the head's own basis."""
        layers = [layer.weight[None] for layer in self.model.network.modulated_layers()]
        return Kernels(layers, self.model.injection.basis_kernels(torch.zeros_like(self.noise)))


class PlainNetwork(nn.Sequential):
    """A stack of convolutions as large as FusionNet: 32 channels, four residual blocks."""

    def __init__(self) -> None:
        blocks = (ResidualBlock(32) for _ in range(4))
        first, last = nn.Conv2d(BANDS, 32, 3, padding=1), nn.Conv2d(32, BANDS, 3, padding=1)
        super().__init__(first, nn.ReLU(), *blocks, last)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.path = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, x):
        return torch.relu(x + self.path(x))


@pytest.fixture(scope="session")
def tile(device) -> Tile:
    with torch.no_grad():
        return Tile(device)


@pytest.mark.parametrize("mode, name", [(mode, name) for mode in PARTS for name in PARTS[mode]])
def test_tile(stopwatch, tile, mode, name):
    with torch.no_grad():
        function = part(tile, mode, name)
        if mode == "compiled":
            check_same(function(), part(tile, "eager", name)())
        parameters = sum(parameter.numel() for parameter in tile.model.parameters())
        stopwatch.time(
            function,
            op="tile",
            name=name,
            mode=mode,
            shape=[1, BANDS, SIZE, SIZE],
            parameters=parameters,
        )


def part(tile: Tile, mode: str, name: str):
    """The function to time; its tensors are ready, so that only the part itself is measured."""
    prior, fuse, plain = tile.networks[mode]
    inputs = tile.inputs()
    kernels, base = tile.prior(inputs), tile.base_kernels()
    parts = {
        "inputs": lambda: tile.inputs(),
        "prior": lambda: prior(inputs),
        "fusion network": lambda: fuse(inputs, kernels),
        "base network": lambda: fuse(inputs, base),
        "prior + fusion": lambda: fuse(inputs, prior(inputs)),
        "whole path": lambda: whole_path(tile),
        "Sharpener.sharpen": lambda: tile.sharpener.sharpen(tile.pan[0].cpu(), tile.ms[0].cpu()),
        "plain network": lambda: plain(inputs.lms),
    }
    return parts[name]


def whole_path(tile: Tile):
    """From digital numbers to digital numbers."""
    inputs = tile.inputs()
    return to_dn(tile.model.fuse(inputs, tile.prior(inputs)), tile.statistics)


def check_same(result, expected) -> None:
    for one, other in zip(tensors(result), tensors(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def tensors(result) -> list[torch.Tensor]:
    if isinstance(result, Kernels):
        return [*result.layers, result.basis] if result.basis is not None else result.layers
    return [result]
