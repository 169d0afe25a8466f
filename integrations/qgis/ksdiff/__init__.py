"""QGIS plugin: KSDiff's commands as Processing algorithms. Needs nothing but QGIS."""


def classFactory(iface):
    """What QGIS calls to load the plugin."""
    from .plugin import KSDiffPlugin

    return KSDiffPlugin()
