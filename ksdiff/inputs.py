"""What the fusion network sees of a scene, in units free of sensor and gain."""

from typing import NamedTuple

from torch import Tensor


class FusionInputs(NamedTuple):
    """Normalised tensors of one window, or of a batch of windows.

    Digital numbers differ between sensors by factors and offsets; what a network learns about
    detail should not. Each MS band is divided by its scene mean, and PAN is standardised, so that
    ``1 + contrast * pan`` is PAN matched to a band in mean and strength of detail (where the
    histogram matching of the classical methods matches mean and standard deviation).
    """

    pan: Tensor  # [B, 1, H, W] (PAN - mean) / std, both of the low-passed PAN of the scene
    pan_low: Tensor  # [B, C, H, W] PAN through each band's MTF and back, in the same units
    lms: Tensor  # [B, C, H, W] expanded MS divided by each band's scene mean
    contrast: Tensor  # [B, C] a band's detail (in units of its mean) per detail of ``pan_low``

    def cropped(self, window: tuple) -> "FusionInputs":
        """The part of the images that ``window`` indexes."""
        return FusionInputs(*(image[window] for image in self[:3]), self.contrast)
