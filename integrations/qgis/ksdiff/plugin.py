"""The plugin: it registers the provider."""

from qgis.core import QgsApplication

from .provider import KSDiffProvider


class KSDiffPlugin:
    """Has a provider of Processing and no other part of the window."""

    def __init__(self):
        self.provider = None

    def initProcessing(self):
        """Called alone by qgis_process, which has no window."""
        self.provider = KSDiffProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):
        self.initProcessing()

    def unload(self):
        QgsApplication.processingRegistry().removeProvider(self.provider)
