"""Parameters of Processing for the command's options, and their values."""

from qgis.core import (
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from .options import OVERWRITE, WEIGHTS

CREATION_OPTIONS = "CREATION_OPTIONS"
FOLDER, FILE = "FOLDER", "FILE"
_OPTIONS_WIDGET = "processing.algs.gdal.ui.RasterOptionsWidget.RasterOptionsWidgetWrapper"


def parameter_of(option):
    """The parameter with the widget that fits an option's values."""
    name, label, default = option.parameter, option.label, option.default
    if option.choices:
        made = QgsProcessingParameterEnum(
            name,
            label,
            list(option.choices),
            defaultValue=default,
            optional=default is None,
            usesStaticStrings=True,
        )
    elif isinstance(default, bool):
        made = QgsProcessingParameterBoolean(name, label, default)
    elif isinstance(default, int):
        made = QgsProcessingParameterNumber(name, label, defaultValue=default, minValue=0)
    elif option == WEIGHTS:
        made = QgsProcessingParameterFile(
            name, label, optional=True, fileFilter="Weights (*.safetensors)"
        )
    else:
        made = QgsProcessingParameterString(name, label, default, optional=True)
    return made if option.common or option == OVERWRITE else advanced(made)


def advanced(parameter):
    """The same parameter, shown when it is asked for."""
    parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return parameter


def creation_options_parameter():
    """With the widget that GDAL's algorithms have."""
    made = QgsProcessingParameterString(
        CREATION_OPTIONS, "Creation options", defaultValue="", optional=True
    )
    made.setMetadata({"widget_wrapper": {"class": _OPTIONS_WIDGET}})
    return advanced(made)


def folder_or_file(folder, file, file_filter):
    """Two parameters, of which one is to be given; no widget takes both."""
    return (
        QgsProcessingParameterFile(
            FOLDER, folder, behavior=QgsProcessingParameterFile.Folder, optional=True
        ),
        QgsProcessingParameterFile(FILE, file, fileFilter=file_filter, optional=True),
    )


def value_of(algorithm, option, parameters, context):
    """An option's value as `options.arguments` takes it."""
    name = option.parameter
    if isinstance(option.default, bool):
        return algorithm.parameterAsBoolean(parameters, name, context)
    if isinstance(option.default, int):
        return algorithm.parameterAsInt(parameters, name, context)
    if option.choices:
        return algorithm.parameterAsEnumString(parameters, name, context)
    return algorithm.parameterAsString(parameters, name, context).strip()
