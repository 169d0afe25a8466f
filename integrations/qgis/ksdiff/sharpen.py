"""Fusing a pair of layers, and a product."""

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingParameterBand,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from .algorithm import REPORT_STAGES, STAGES, KSDiffAlgorithm
from .layers import TrueColours, name_of, part_of_layer
from .options import ADAPT, OVERWRITE, READING, SHARPENING, WRITING, creation_options
from .parameters import (
    CREATION_OPTIONS,
    advanced,
    creation_options_parameter,
    folder_or_file,
)
from .sources import NotAFile, OutsideExtent

_ADAPTING = 600  # beside the others' sum of about 100

_HELP = """Fuses {what} into a sharp multispectral raster on PAN's grid, in the data type of the
multispectral raster (MS). PAN is moved onto the MS where it lies beside it; what was found is in
the log. The result is shown in true colours.

<b>Method</b>: ksdiff, or a classical method. <b>Sensor</b>: tells how sharp its images are; generic
values without. <b>Report</b>: an HTML page with pictures, spectra and indexes.

The work is done by the command ksdiff (Settings ‣ Options ‣ Processing ‣ Providers ‣ KSDiff).
Cancelling ends it and leaves no output."""


class _Sharpening(KSDiffAlgorithm):
    """Writes one raster, and a report if one is asked for."""

    OPTIONS = (*SHARPENING, ADAPT, *READING, *WRITING, OVERWRITE)
    OUTPUTS = ("OUTPUT", "REPORT")

    def initAlgorithm(self, configuration=None):
        self.add_input()
        self.add_options(*self.OPTIONS)
        self.addParameter(creation_options_parameter())
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Sharpened"))
        self.addParameter(
            QgsProcessingParameterFileDestination(
                "REPORT", "Report", "HTML files (*.html)", optional=True, createByDefault=False
            )
        )

    def processAlgorithm(self, parameters, context, feedback):
        out = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        report = self.parameterAsFileOutput(parameters, "REPORT", context)
        words = [
            *("sharpen", *self.input_words(parameters, context), "--out", out),
            *self.option_arguments(parameters, context),
            *creation_options(self.parameterAsString(parameters, CREATION_OPTIONS, context)),
            *(("--report", report) if report else ()),
        ]
        adapting = {"Adapting": _ADAPTING} if ADAPT.flag in words else {}
        stages = {**STAGES, **adapting, **(REPORT_STAGES if report else {})}
        if not self.run_command(words, feedback, stages, [out, report] if report else [out]):
            return {}
        if context.willLoadLayerOnCompletion(out):
            details = context.layerToLoadOnCompletionDetails(out)
            details.setPostProcessor(TrueColours.create())
        return {"OUTPUT": out, **({"REPORT": report} if report else {})}


class Sharpen(_Sharpening):
    """A pair of layers."""

    ID, LABEL = "sharpen", "Sharpen"
    HELP = _HELP.format(
        what="a panchromatic raster (PAN) and a multispectral one of the same place"
    )

    def add_input(self):
        layer, layers = QgsProcessingParameterRasterLayer, QgsProcessingParameterMultipleLayers
        self.addParameter(layer("PAN", "PAN: panchromatic raster"))
        self.addParameter(layer("MS", "MS: multispectral raster"))
        bands = QgsProcessingParameterBand(
            "BANDS", "Bands of the MS, in this order (all)", None, "MS", True, True
        )
        self.addParameter(bands)
        self.addParameter(QgsProcessingParameterExtent("AREA", "Only this extent", optional=True))
        for name, label in (
            ("MORE_PAN", "Further tiles of PAN"),
            ("MORE_MS", "Further bands or tiles of the MS"),
        ):
            more = layers(name, label, QgsProcessing.TypeRaster, optional=True)
            self.addParameter(advanced(more))

    def problem(self, parameters, context):
        try:
            self._names(parameters, context)
        except (NotAFile, OutsideExtent) as error:
            return str(error)
        return super().problem(parameters, context)

    def input_words(self, parameters, context):
        pan, ms = self._names(parameters, context)
        bands = self.parameterAsInts(parameters, "BANDS", context)
        return [
            *(word for name in pan for word in ("--pan", name)),
            *(word for name in ms for word in ("--ms", name)),
            *(("--bands", ",".join(map(str, bands))) if bands else ()),
        ]

    def _names(self, parameters, context):
        """What the command opens for PAN and MS."""
        pan, ms = self._layers(parameters, context)
        names = [
            [name_of(role, each) for each in group] for role, group in (("PAN", pan), ("MS", ms))
        ]
        bounds = self.parameterAsExtent(parameters, "AREA", context, pan[0].crs())
        if not bounds.isEmpty():
            if len(pan) > 1:
                raise OutsideExtent("AREA: goes with one file of PAN; leave MORE_PAN empty")
            edges = bounds.xMinimum(), bounds.yMinimum(), bounds.xMaximum(), bounds.yMaximum()
            names[0] = [part_of_layer(pan[0], ms[0], names[0][0], edges)]
        return names

    def _layers(self, parameters, context):
        found = []
        for name in ("PAN", "MS"):
            first = self.parameterAsRasterLayer(parameters, name, context)
            if first is None:
                raise QgsProcessingException(self.invalidRasterError(parameters, name))
            more = self.parameterAsLayerList(parameters, f"MORE_{name}", context) or []
            found.append([first, *more])
        return found


class SharpenProduct(_Sharpening):
    """A product as it was delivered."""

    ID, LABEL = "sharpenproduct", "Sharpen product"
    HELP = _HELP.format(
        what="a product as delivered (Landsat, DIMAP of Airbus, Maxar, GaoFen, STAC; its folder, "
        "archive or metadata file)"
    )

    def add_input(self):
        for parameter in folder_or_file(
            "Folder of the product",
            "or its archive or metadata file",
            "Product (*.tar *.tgz *.gz *.zip *.xml *.txt *.json *.TIL *.IMD)",
        ):
            self.addParameter(parameter)
        self.addParameter(
            QgsProcessingParameterString(
                "BANDS", "Bands, counted from 1: 4,3,2 (all)", optional=True
            )
        )

    def problem(self, parameters, context):
        return self.given_problem(parameters, context) or super().problem(parameters, context)

    def input_words(self, parameters, context):
        bands = self.parameterAsString(parameters, "BANDS", context).strip()
        return [self.given(parameters, context), *(("--bands", bands) if bands else ())]
