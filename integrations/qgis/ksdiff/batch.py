"""Fusing many scenes."""

import os

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingOutputMultipleLayers,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFolderDestination,
)

from .algorithm import KSDiffAlgorithm
from .layers import TrueColours
from .options import OVERWRITE, SHARPENING, SUFFIX, WORKERS, WRITING, creation_options
from .parameters import CREATION_OPTIONS, creation_options_parameter, folder_or_file


class Batch(KSDiffAlgorithm):
    """The scenes of a folder or a CSV file, each to a raster of its own."""

    ID, LABEL = "batch", "Batch"
    HELP = """Fuses all scenes of a folder (products, or NAME_pan.tif with NAME_ms.tif) or of a CSV
file with the columns pan and ms, and optionally name and sensor.

Results are NAME.tif in the output folder. Scenes whose result is there are skipped, so the same
call goes on where it was cancelled. What fails does not stop the others: the reasons are listed at
the end, and the algorithm fails."""
    OPTIONS = (*SHARPENING, *WRITING, SUFFIX, WORKERS, OVERWRITE)

    def initAlgorithm(self, configuration=None):
        for parameter in folder_or_file("Folder of scenes", "or a list", "CSV (*.csv)"):
            self.addParameter(parameter)
        self.add_options(*self.OPTIONS)
        self.addParameter(creation_options_parameter())
        self.addParameter(QgsProcessingParameterBoolean("LOAD", "Load the results", False))
        self.addParameter(QgsProcessingParameterFolderDestination("OUTPUT", "Folder for results"))
        self.addOutput(QgsProcessingOutputMultipleLayers("LAYERS", "Results"))

    def problem(self, parameters, context):
        # Results that are there are skipped.
        return self.given_problem(parameters, context)

    def processAlgorithm(self, parameters, context, feedback):
        out = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        words = [
            *("batch", self.given(parameters, context), "--out", out),
            *self.option_arguments(parameters, context),
            *creation_options(self.parameterAsString(parameters, CREATION_OPTIONS, context)),
        ]
        before = _rasters(out)
        if not self.run_command(words, feedback, {"Sharpening": 1}, [out]):
            return {}
        made = [path for path, time in _rasters(out).items() if before.get(path) != time]
        if self.parameterAsBoolean(parameters, "LOAD", context):
            for path in made:
                name = os.path.splitext(os.path.basename(path))[0]
                details = QgsProcessingContext.LayerDetails(name, context.project(), "LAYERS")
                details.setPostProcessor(TrueColours.create())
                context.addLayerToLoadOnCompletion(path, details)
        return {"OUTPUT": out, "LAYERS": made}


def _rasters(folder):
    """Files by path, with when they were made."""
    if not os.path.isdir(folder):
        return {}
    return {
        entry.path: entry.stat().st_mtime_ns
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
        if entry.is_file()
        and not entry.name.startswith(".")
        and not entry.name.endswith(".aux.xml")
    }
