"""Published fusion networks, each called as network(pan, lms) -> fused.

PAN [B, 1, H, W] and lms [B, C, H, W] in the same units; the result [B, C, H, W] is in them, too.
"""

from ksdiff.models.backbones.dicnn import DiCNN
from ksdiff.models.backbones.fusionnet import FusionNet
from ksdiff.models.backbones.lagnet import LAGConv, LAGNet

BACKBONES: dict[str, type[DiCNN | FusionNet | LAGNet]] = {
    "dicnn": DiCNN,
    "fusionnet": FusionNet,
    "lagnet": LAGNet,
}

__all__ = ["BACKBONES", "DiCNN", "FusionNet", "LAGConv", "LAGNet"]
