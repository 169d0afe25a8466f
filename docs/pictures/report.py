"""Takes the picture of a report on a drawn scene, report.jpg.

    python docs/pictures/report.py

Needs Playwright for Python and Chromium, and Pillow.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent
SIZE = {"width": 1280, "height": 1180}


def ksdiff(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "ksdiff", *map(str, arguments)], check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        ksdiff("simulate", "--out", folder, "--size", 768, "--bands", 8, "--sensor", "wv3")
        pair = folder / "scene_pan.tif", folder / "scene_ms.tif"
        report = folder / "report.html"
        ksdiff("sharpen", *pair, folder / "fused.tif", "--sensor", "wv3", "--report", report)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(report.as_uri())
        page.locator("#swiped").focus()
        for _ in range(2):
            page.keyboard.press("+")
        page.keyboard.press("Enter")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(500)
        picture = Image.open(io.BytesIO(page.screenshot()))
        picture.convert("RGB").save(FOLDER / "report.jpg", quality=85)
        browser.close()


if __name__ == "__main__":
    main()
