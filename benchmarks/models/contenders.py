"""Who is compared: every way from FusionInputs to a fused image, in every mode of running it."""

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from benchmarks.ops.forms import adaptive_unfold
from ksdiff.config import load_config
from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import FusionInputs
from ksdiff.models.backbones import BACKBONES, LAGConv
from ksdiff.models.ksdiff import Kernels, KSDiff, matched_pan
from ksdiff.models.weights import load_weights
from ksdiff.runtime import alone_if_small

KSDIFF, NO_PRIOR, BIG = "ksdiff-s", "ksdiff-s without prior", "ksdiff-b"
FEATURES, UNFOLD = "feature modulation (DiffIR)", "lagnet on unfold"
SMALL, LARGE = "pixel U-Net, matched", "pixel U-Net, 15.5 M"
EAGER, BF16, COMPILED, BOTH = "eager", "bf16", "compiled", "compiled bf16"
BANDS = 8  # of the main table
WEIGHTS = {8: "ksdiff-s-8band", 4: "ksdiff-s-4band"}
# Families that each mode is tried with; on a CPU a compilation takes up to minutes.
_TRIED = {
    COMPILED: (KSDIFF, BIG, *BACKBONES, SMALL, LARGE),
    BOTH: (KSDIFF, BIG, "dicnn", "fusionnet", SMALL),
}
MODES = (EAGER, BF16, *_TRIED)
# The usual size of published pixel-space diffusions.
_LARGE = {"widths": (32, 64, 128, 256), "layers": 2, "patch": 1, "attention": True}


@dataclasses.dataclass(frozen=True)
class Contender:
    """``run(inputs, seed=0)`` fuses normalised inputs with ``evaluations`` of the network."""

    name: str
    family: str  # contenders of one family share their weights
    mode: str
    module: nn.Module
    evaluations: int
    run: Callable[..., Tensor]


class OnePass(nn.Module):
    """A published backbone on KSDiff's inputs."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.network = backbone

    def forward(self, inputs: FusionInputs) -> Tensor:
        """Fused [B, C, H, W] in the units of ``lms``."""
        return self.network(matched_pan(inputs), inputs.lms)


class UnfoldLAGConv(LAGConv):
    """LAGConv in its published form: every pixel's neighbourhood copied, weighed, multiplied."""

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias(x)[..., None, None]
        return adaptive_unfold(x, self.attention(x), self.weight) + bias


def on_unfold(lagnet: OnePass) -> OnePass:
    """The same LAGNet with the same weights, without `ksdiff_ops`."""
    twin = copy.deepcopy(lagnet)
    for layer in twin.modules():
        if isinstance(layer, LAGConv):
            layer.__class__ = UnfoldLAGConv
    return twin


def networks(
    device: str, bands: int = BANDS, only: Collection[str] | None = None
) -> dict[str, nn.Module]:
    """A network of every family, or of those in ``only``; weights do not matter to time.

    Raises:
        KSDiffError: ``only`` has an unknown name.
    """
    model = load_weights(WEIGHTS[bands])[0]
    kernels = dataclasses.replace(model.config.kernels, generator="features")
    found = {
        KSDIFF: model,
        FEATURES: KSDiff(dataclasses.replace(model.config, kernels=kernels)),
        **{name: OnePass(backbone(bands)) for name, backbone in BACKBONES.items()},
    }
    found[UNFOLD] = on_unfold(found["lagnet"])
    try:
        from benchmarks.models.pixel_diffusion import PixelDiffusion
    except ImportError:
        print("pixel U-Nets: skipped: they need the package diffusers")
    else:
        found |= {SMALL: PixelDiffusion(bands), LARGE: PixelDiffusion(bands, **_LARGE)}
    if device == "cuda":  # the large model is meant for GPUs
        found[BIG] = KSDiff(load_config(f"{BIG}-{bands}band").model)
    for name in only or ():
        if name not in found:
            raise KSDiffError(f"--only {name!r}: expected some of {', '.join(found)}")
    return {
        name: ready(network, device) for name, network in found.items() if name in (only or found)
    }


def ready(network: nn.Module, device: str) -> nn.Module:
    """For inference, in the layout that is fastest for it."""
    as_it_is = isinstance(network, KSDiff) or any(
        isinstance(layer, LAGConv) for layer in network.modules()
    )
    layout = torch.preserve_format if as_it_is else torch.channels_last
    return network.to(device, memory_format=layout).eval().requires_grad_(False)


def contenders(found: Mapping[str, nn.Module], device: str, mode: str = EAGER) -> list[Contender]:
    """All ways through ``found`` (of `networks`, by family) that ``mode`` is tried with.

    ``compiled``: torch.compile with fixed shapes, with CUDA graphs on a GPU. ``bf16``: autocast.
    """
    return [
        Contender(name, family, mode, network, evaluations, run)
        for family, network in found.items()
        if family in _TRIED.get(mode, found)
        for name, evaluations, run in _ways(family, network, mode, device)
    ]


def _ways(family: str, network: nn.Module, mode: str, device: str) -> Iterator[tuple]:
    """Name, evaluations and call of each."""
    if isinstance(network, KSDiff):
        yield from _ksdiff(family, network, mode, device)
        return
    evaluate = _in_mode(network, mode, device)
    if isinstance(network, OnePass):
        yield family, 1, lambda inputs, seed=0: evaluate(inputs)
        return

    def run(inputs: FusionInputs, seed: int = 0, *, sampler: str) -> Tensor:
        return network.sample(inputs, sampler, torch.Generator().manual_seed(seed), evaluate)

    for name, (_, evaluations) in network.samplers.items():
        yield f"{family}, {name}", evaluations, functools.partial(run, sampler=name)


def _in_mode(function: Callable, mode: str, device: str) -> Callable:
    if mode in (COMPILED, BOTH):
        graphs = "reduce-overhead" if device == "cuda" else None
        function = torch.compile(function, dynamic=False, mode=graphs)
    cast = contextlib.nullcontext
    if mode in (BF16, BOTH):
        cast = functools.partial(torch.autocast, device, torch.bfloat16)

    def run(*arguments):
        with cast():
            return function(*arguments)

    return run


def _ksdiff(family: str, model: KSDiff, mode: str, device: str) -> Iterator[tuple]:
    """With a prior for every image; ksdiff-s also with the base kernels and the head's basis."""
    fuse = _in_mode(model.fuse, mode, device)

    def prior(inputs: FusionInputs, noise: Tensor) -> Kernels:
        condition, tokens = model.observed(inputs)
        return model.kernels(model.sample_prior(condition, noise), tokens)

    prior = _prior_in_mode(prior, mode, device)

    def run(inputs: FusionInputs, seed: int = 0) -> Tensor:
        return fuse(inputs, prior(inputs, _noise(model, inputs, seed)))

    def run_without(inputs: FusionInputs, seed: int = 0) -> Tensor:
        layers = [layer.weight[None] for layer in model.network.modulated_layers()]
        basis = model.injection.basis_kernels(torch.zeros_like(_noise(model, inputs, seed)))
        return fuse(inputs, Kernels(layers, basis))

    yield family, 1, run
    if family == KSDIFF:
        yield NO_PRIOR, 1, run_without


def _prior_in_mode(prior: Callable, mode: str, device: str) -> Callable:
    """On a GPU launches dominate the prior's time. On a CPU its operations are so small that casts
    cost more than bf16 saves (16 ms against 12), and waking a second thread more than it gains:
    compiled for two threads, which sleep between calls here, it takes twice as long as eager, for
    one a fifth less."""
    if device == "cuda":
        return _in_mode(prior, mode, device)
    if mode not in (COMPILED, BOTH):
        return prior
    compiled = _in_mode(prior, COMPILED, device)

    def run(inputs: FusionInputs, noise: Tensor) -> Kernels:
        with alone_if_small(inputs.pan):  # the number of threads is compiled into the code
            return compiled(inputs, noise)

    return run


def _noise(model: KSDiff, inputs: FusionInputs, seed: int) -> Tensor:
    """Of its own for every image."""
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([model.draw_noise(generator) for _ in inputs.pan]).to(inputs.pan)
