"""What test.sh tries in QGIS itself: layers of a project, loading, threads and cancelling.

    python3 - FOLDER COMMAND < in_qgis.py

with QGIS's Python, and the folders of its plugins and of the installed one on PYTHONPATH. Were it
named, the script's folder would come before them.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import processing
from osgeo import gdal
from processing.core.Processing import Processing
from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.gui import QgsGui, QgsProcessingGui, QgsProcessingParameterWidgetContext
from qgis.PyQt.QtCore import QEventLoop

import ksdiff

WORK, COMMAND = Path(sys.argv[1]), sys.argv[2]
PAN, MS = (str(WORK / "scenes" / f"a_{part}.tif") for part in ("pan", "ms"))
TILES = "type=xyz&url=http://127.0.0.1:9/{z}/{x}/{y}.png&zmin=0&zmax=2"


class Feedback(QgsProcessingFeedback):
    """Keeps what it is told; cancels beyond a share."""

    def __init__(self, cancel_at=None):
        super().__init__(False)
        self.seen, self.lines = [], []
        self.began_to_cancel = None

        def look(percent):
            self.seen.append(percent)
            if cancel_at is not None and percent >= cancel_at and not self.isCanceled():
                self.began_to_cancel = time.monotonic()
                self.cancel()

        self.progressChanged.connect(look)

    def pushConsoleInfo(self, text):
        self.lines.append(text)

    def pushInfo(self, text):
        self.lines.append(text)

    def setProgressText(self, text):
        self.lines.append(text)


def passed(name):
    print(f"ok: {name}", flush=True)


def run_in_background(name, parameters, feedback):
    """As the dialog of an algorithm does; returns success and results."""
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(name)
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    task, loop, ended = (
        QgsProcessingAlgRunnerTask(algorithm, parameters, context, feedback),
        QEventLoop(),
        [],
    )
    task.executed.connect(lambda *result: (ended.append(result), loop.quit()))
    QgsApplication.taskManager().addTask(task)
    loop.exec_()
    return ended[0]


def raises(words, name, **parameters):
    try:
        processing.run(name, parameters)
    except QgsProcessingException as error:
        assert words in str(error), error
        return
    raise AssertionError(f"{words!r} is not an error")


def processes_with(text):
    return subprocess.run(["pgrep", "-f", text], capture_output=True, text=True).stdout.split()


def files():
    """Those that are there, without QGIS's own statistics beside rasters."""
    return {name for name in os.listdir(WORK) if not name.endswith(".aux.xml")}


def layers_that_are_files_and_others():
    project = QgsProject.instance()
    tiles = QgsRasterLayer(TILES, "Map tiles", "wms")
    gdal.GetDriverByName("GTiff").CreateCopy("/vsimem/held.tif", gdal.Open(MS))
    held = QgsRasterLayer("/vsimem/held.tif", "Held in memory")
    points = QgsVectorLayer("Point?crs=EPSG:32631", "Points", "memory")
    pan = QgsRasterLayer(PAN, "PAN of the project")
    assert all(layer.isValid() for layer in (tiles, held, points, pan))
    project.addMapLayers([tiles, held, points, pan])
    project.write(str(WORK / "project.qgz"))
    out = str(WORK / "none.tif")
    for layer, kind in ((tiles, "wms"), (held, "memory")):
        words = f"MS: layer '{layer.name()}' is not a file ({kind})"
        raises(words, "ksdiff:sharpen", PAN=pan, MS=layer, OUTPUT=out)
        raises(words, "ksdiff:sharpen", PAN=pan, MS=MS, MORE_MS=[layer], OUTPUT=out)
    passed("layers that are not files are refused by name")
    raises("", "ksdiff:sharpen", PAN=pan, MS=points, OUTPUT=out)
    passed("a vector layer is refused")


def a_result_is_loaded_in_true_colours():
    feedback, out = Feedback(), str(WORK / "loaded.tif")
    parameters = {"PAN": "PAN of the project", "MS": MS, "METHOD": "gsa", "OUTPUT": out}
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    processing.runAndLoadResults("ksdiff:sharpen", parameters, feedback, context)
    (layer,) = (
        layer for layer in QgsProject.instance().mapLayers().values() if layer.source() == out
    )
    renderer = layer.renderer()
    shown = renderer.redBand(), renderer.greenBand(), renderer.blueBand()
    assert shown == (3, 2, 1), shown
    stretch = renderer.redContrastEnhancement()
    assert stretch.minimumValue() < stretch.maximumValue()
    words = "bands 3, 2, 1 shown as red, green, blue, by colour interpretation"
    assert any(words in line for line in feedback.lines), feedback.lines
    passed("a result is loaded in true colours, stretched, and the log says why")
    assert feedback.seen == sorted(feedback.seen) and feedback.seen[-1] == 100, feedback.seen
    assert "Sharpening" in feedback.lines
    assert any("4 bands of 256 x 256" in line for line in feedback.lines), feedback.lines
    passed("progress goes up to 100, the command's lines are in the log")


def results_of_a_batch_are_loaded_when_asked():
    before = set(QgsProject.instance().mapLayers())
    parameters = {"FOLDER": str(WORK / "scenes"), "OUTPUT": str(WORK / "loaded"), "METHOD": "exp"}
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    processing.runAndLoadResults("ksdiff:batch", {**parameters, "LOAD": True}, Feedback(), context)
    layers = QgsProject.instance().mapLayers()
    names = sorted(layers[key].name() for key in set(layers) - before)
    assert names == ["a", "b"], names
    passed("results of a batch are loaded when asked for")


def an_extent_in_other_coordinates():
    layer = QgsRasterLayer(PAN, "PAN")
    middle = layer.extent().buffered(-30)
    degrees = QgsCoordinateReferenceSystem("EPSG:4326")
    move = QgsCoordinateTransform(layer.crs(), degrees, QgsProject.instance())
    box = move.transformBoundingBox(middle)
    text = f"{box.xMinimum()},{box.xMaximum()},{box.yMinimum()},{box.yMaximum()} [EPSG:4326]"
    out = str(WORK / "degrees.tif")
    processing.run(
        "ksdiff:sharpen", {"PAN": PAN, "MS": MS, "METHOD": "exp", "AREA": text, "OUTPUT": out}
    )
    made = QgsRasterLayer(out, "part").extent()
    assert made.contains(middle) and layer.extent().contains(made) and made != layer.extent()
    passed("an extent in degrees cuts PAN")


def cancelling_in_the_background():
    names = {"PAN": str(WORK / "large_pan.tif"), "MS": str(WORK / "large_ms.tif")}
    before = files()
    for at in (1, 25):
        feedback = Feedback(cancel_at=at)
        out = str(WORK / "cancelled.tif")
        run_in_background("ksdiff:sharpen", {**names, "OUTPUT": out}, feedback)
        took = time.monotonic() - feedback.began_to_cancel
        assert files() == before, files() - before
        assert not processes_with(out), "the command still runs"
        assert feedback.seen[-1] < 100
        passed(f"cancelled at {feedback.seen[-1]:.0f} %: no output, no process, after {took:.1f} s")


def every_parameter_has_a_widget():
    registry, counts = QgsGui.processingGuiRegistry(), {}
    for algorithm in QgsApplication.processingRegistry().providerById("ksdiff").algorithms():
        for parameter in algorithm.parameterDefinitions():
            wrapper = registry.createParameterWidgetWrapper(parameter, QgsProcessingGui.Standard)
            assert wrapper is not None, parameter.name()
            wrapper.setWidgetContext(QgsProcessingParameterWidgetContext())
            widget = wrapper.createWrappedWidget(QgsProcessingContext())
            counts[type(widget).__name__] = counts.get(type(widget).__name__, 0) + 1
    passed(f"{sum(counts.values())} parameters have widgets of QGIS")


def main():
    application = QgsApplication([], True)
    application.initQgis()
    Processing.initialize()
    plugin = ksdiff.classFactory(None)
    plugin.initProcessing()
    ProcessingConfig.setSettingValue("ksdiff/command", COMMAND)
    every_parameter_has_a_widget()
    layers_that_are_files_and_others()
    a_result_is_loaded_in_true_colours()
    results_of_a_batch_are_loaded_when_asked()
    an_extent_in_other_coordinates()
    cancelling_in_the_background()
    QgsProject.instance().clear()
    plugin.unload()
    assert QgsApplication.processingRegistry().providerById("ksdiff") is None
    passed("the plugin unloads")
    sys.stdout.flush()
    os._exit(0)  # Qt ends before Python's wrappers of its objects otherwise


if __name__ == "__main__":
    main()
