"""Draws MS, PAN and fused of the demo's scene: `make demo`, then `python docs/pictures/fused.py`.

Writes fused.jpg, for the README, and fused-scene.jpg, from the demo's preview, whose upper row
shows the scene and whose lower row a part of it.
"""

from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent
PREVIEW = FOLDER.parents[1] / "demo/fused.png"
WIDTH = 1280
GAP, TITLE = 8, 26  # of the preview, in pixels; its titles are too small to be read on a page


def save(image: Image.Image, name: str) -> None:
    height = round(image.height * WIDTH / image.width)
    image.resize((WIDTH, height), Image.Resampling.LANCZOS).save(FOLDER / name, quality=85)


def main() -> None:
    preview = Image.open(PREVIEW).convert("RGB")
    side = (preview.height - GAP) // 2 - TITLE
    for name, top in (("fused-scene.jpg", TITLE), ("fused.jpg", 2 * TITLE + side)):
        save(preview.crop((GAP, top, preview.width - GAP, top + side)), name)


if __name__ == "__main__":
    main()
