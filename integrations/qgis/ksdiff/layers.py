"""Layers that go in and the result that comes out."""

import math
from typing import ClassVar

from osgeo import gdal
from qgis.core import (
    QgsContrastEnhancement,
    QgsMultiBandColorRenderer,
    QgsProcessingLayerPostProcessorInterface,
    QgsRasterMinMaxOrigin,
)

from .colours import Band, true_colours
from .sources import NotAFile, part_of, source_name


def name_of(role, layer):
    """What the command opens for a layer.

    Raises:
        NotAFile: the layer's data are not in a file.
    """
    if layer.providerType() is None or not hasattr(layer, "bandCount"):
        raise NotAFile(f"{role}: layer '{layer.name()}' is not a raster; choose a raster layer")
    return source_name(role, layer.name(), layer.providerType(), layer.source())


def part_of_layer(pan, ms, name, bounds):
    """The part of PAN in a rectangle, with what lies beneath a pixel of the MS more around it.

    The command cuts to whole pixels of the MS.
    """
    data = gdal.Open(name)
    transform = data and data.GetGeoTransform(can_return_null=True)
    if not transform:
        return part_of(name, None, (0, 0), bounds, 0)
    finest = min(pan.rasterUnitsPerPixelX(), pan.rasterUnitsPerPixelY())
    coarsest = max(ms.rasterUnitsPerPixelX(), ms.rasterUnitsPerPixelY())
    margin = math.ceil(coarsest / finest) if pan.crs() == ms.crs() else 8
    return part_of(name, transform, (data.RasterXSize, data.RasterYSize), bounds, margin)


class TrueColours(QgsProcessingLayerPostProcessorInterface):
    """Shows a result in true colours when it is loaded."""

    _kept: ClassVar[list] = []  # Processing does not own it

    @classmethod
    def create(cls):
        """One that lives until it has been used."""
        made = cls()
        cls._kept.append(made)
        return made

    def postProcessLayer(self, layer, context, feedback):
        TrueColours._kept.remove(self)
        renderer = layer.renderer()
        if not isinstance(renderer, QgsMultiBandColorRenderer):
            return
        colours, by = true_colours(_bands(layer.source()))
        if colours is None:
            return
        shown = QgsMultiBandColorRenderer(layer.dataProvider(), *colours)
        shown.setAlphaBand(renderer.alphaBand())
        layer.setRenderer(shown)
        layer.setContrastEnhancement(
            QgsContrastEnhancement.StretchToMinimumMaximum, QgsRasterMinMaxOrigin.CumulativeCut
        )
        red, green, blue = colours
        feedback.pushInfo(
            f"{layer.name()}: bands {red}, {green}, {blue} shown as red, green, blue, by {by}"
        )


def _bands(source):
    data = gdal.Open(source)
    if data is None:
        return []
    found = []
    for number in range(1, data.RasterCount + 1):
        band = data.GetRasterBand(number)
        colour = gdal.GetColorInterpretationName(band.GetColorInterpretation()).lower()
        wavelength = band.GetMetadataItem("CENTRAL_WAVELENGTH_UM") or band.GetMetadataItem(
            "CENTRAL_WAVELENGTH_UM", "IMAGERY"
        )
        found.append(Band(colour, band.GetDescription(), float(wavelength) if wavelength else None))
    return found
