"""The provider: KSDiff's algorithms, and the setting that names the command."""

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithm import ICON, SETTING
from .batch import Batch
from .evaluate import Evaluate
from .sharpen import Sharpen, SharpenProduct


class KSDiffProvider(QgsProcessingProvider):
    """Algorithms ksdiff:sharpen, sharpenproduct, evaluate and batch."""

    def id(self):
        return "ksdiff"

    def name(self):
        return "KSDiff"

    def longName(self):
        return "KSDiff: pansharpening by kernel-space diffusion"

    def icon(self):
        return QIcon(ICON)

    def svgIconPath(self):
        return ICON

    def load(self):
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        ProcessingConfig.addSetting(
            Setting(
                self.name(),
                SETTING,
                "Command ksdiff, or folder of its environment (empty: look for it)",
                "",
                valuetype=Setting.STRING,
                placeholder="found by itself",
            )
        )
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self):
        ProcessingConfig.removeSetting(SETTING)

    def loadAlgorithms(self):
        for algorithm in (Sharpen, SharpenProduct, Evaluate, Batch):
            self.addAlgorithm(algorithm())

    def supportedOutputRasterLayerExtensions(self):
        return ["tif", "jp2", "img", "png"]

    def defaultRasterFileExtension(self):
        return "tif"
