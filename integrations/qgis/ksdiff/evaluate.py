"""Scoring methods on scenes."""

from qgis.core import (
    QgsProcessingParameterEnum,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
)

from .algorithm import KSDiffAlgorithm
from .options import (
    BORDER,
    CONTRAST,
    DEVICE,
    MEASURED,
    METHODS,
    OVERWRITE,
    PAN_GAIN,
    REGISTRATION,
    SEED,
    SENSOR,
    WEIGHTS,
)
from .parameters import folder_or_file


class Evaluate(KSDiffAlgorithm):
    """Indexes of methods on the scenes of a folder."""

    ID, LABEL = "evaluate", "Evaluate"
    HELP = """Computes quality indexes of sharpening methods on scenes: a folder of NAME_pan.tif,
NAME_ms.tif and, where there is truth, NAME_gt.tif; or a test file of PanCollection (.h5).

With truth: SAM, ERGAS, Q2n, SCC, PSNR and SSIM; without: D_lambda, D_s, HQNR and QNR. The tables
are in the log and in the file."""
    OPTIONS = (
        *(SENSOR, WEIGHTS, REGISTRATION, CONTRAST, PAN_GAIN, DEVICE, SEED),
        *(BORDER, MEASURED, OVERWRITE),
    )
    OUTPUTS = ("TABLE",)

    def initAlgorithm(self, configuration=None):
        for parameter in folder_or_file(
            "Folder of scenes", "or a PanCollection file", "PanCollection (*.h5 *.hdf5)"
        ):
            self.addParameter(parameter)
        self.addParameter(
            QgsProcessingParameterEnum(
                "METHODS",
                "Methods (all)",
                list(METHODS),
                allowMultiple=True,
                optional=True,
                usesStaticStrings=True,
            )
        )
        self.add_options(*self.OPTIONS)
        self.addParameter(
            QgsProcessingParameterFileDestination(
                "TABLE",
                "Table",
                "CSV (*.csv);;JSON (*.json);;Markdown (*.md);;LaTeX (*.tex)",
            )
        )
        self.addParameter(
            QgsProcessingParameterFolderDestination(
                "PICTURES", "Folder for pictures", optional=True, createByDefault=False
            )
        )

    def problem(self, parameters, context):
        return self.given_problem(parameters, context) or super().problem(parameters, context)

    def processAlgorithm(self, parameters, context, feedback):
        methods = self.parameterAsEnumStrings(parameters, "METHODS", context)
        table = self.parameterAsFileOutput(parameters, "TABLE", context)
        pictures = self.parameterAsFileOutput(parameters, "PICTURES", context)
        words = [
            *("evaluate", "--data", self.given(parameters, context), "--out", table),
            *(("--methods", ",".join(methods)) if methods else ()),
            *self.option_arguments(parameters, context),
            *(("--pictures", pictures) if pictures else ()),
        ]
        if not self.run_command(words, feedback, {"Evaluating": 1}, [table]):
            return {}
        return {"TABLE": table, **({"PICTURES": pictures} if pictures else {})}
