"""Takes the picture of the QGIS plugin's dialog in QGIS itself, qgis.png.

    KSDIFF=.venv/bin/ksdiff python docs/pictures/qgis.py

Needs QGIS, Xvfb (xvfb-run), and Pillow. Run by QGIS (`--code`), this file opens the dialog.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(os.environ.get("KSDIFF_PICTURES") or Path(__file__).parent)
ROOT = FOLDER.parents[1]
COLOURS = 128


def take() -> None:
    """Start QGIS with the plugin in a new profile, and keep the picture."""
    from PIL import Image

    command = shutil.which(os.environ.get("KSDIFF", "ksdiff"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugins = folder / "profile/profiles/default/python/plugins"
        settings = folder / "profile/profiles/default/QGIS/QGIS3.ini"
        plugins.mkdir(parents=True)
        settings.parent.mkdir(parents=True)
        settings.write_text(
            "[PythonPlugins]\nksdiff=true\nprocessing=true\n"
            f"[Processing]\nConfiguration\\ksdiff\\command={command}\n"
        )
        script = [sys.executable, str(ROOT / "integrations/qgis/package.py"), "--out", name]
        made = subprocess.run(script, capture_output=True, text=True, check=True).stdout.strip()
        zipfile.ZipFile(made).extractall(plugins)
        subprocess.run([command, "simulate", "--out", name, "--size", "512"], check=True)
        picture = folder / "picture.png"
        environment = {
            **os.environ,
            "QGIS_CUSTOM_CONFIG_PATH": str(folder / "profile"),
            "KSDIFF_PICTURES": str(FOLDER),
            "KSDIFF_PICTURE": str(picture),
            "XDG_RUNTIME_DIR": name,
        }
        for foreign in ("PYTHONPATH", "QT_QPA_PLATFORM"):
            environment.pop(foreign, None)
        layers = [str(folder / f"scene_{part}.tif") for part in ("pan", "ms")]
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1400x1000x24"]
        qgis = ["qgis", "--nologo", "--code", str(Path(__file__).resolve()), *layers]
        subprocess.run([*screen, *qgis], env=environment, check=False, timeout=300)
        image = Image.open(picture).convert("RGB")
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / "qgis.png", optimize=True)


def show() -> None:
    """In QGIS: the dialog of the algorithm with the layers of the project, taken and closed."""
    from processing import createAlgorithmDialog
    from qgis.core import QgsProject
    from qgis.PyQt.QtCore import QTimer

    layers = {layer.name(): layer for layer in QgsProject.instance().mapLayers().values()}
    given = {"PAN": layers["scene_pan"], "MS": layers["scene_ms"], "SENSOR": "gf2"}
    dialog = createAlgorithmDialog("ksdiff:sharpen", given)
    dialog.resize(900, 720)
    dialog.show()

    def keep() -> None:
        dialog.grab().save(os.environ["KSDIFF_PICTURE"])
        os._exit(0)  # asks nothing

    QTimer.singleShot(3000, keep)


if "KSDIFF_PICTURE" in os.environ:
    from qgis.PyQt.QtCore import QTimer

    QTimer.singleShot(3000, show)  # when the project's layers are there
elif __name__ == "__main__":
    take()
