"""Draws MS, PAN and fused of the demo's scene: `make demo`, then `python docs/pictures/fused.py`.

Writes fused.jpg, for the README, and fused-scene.jpg, from the demo's preview, whose upper row
shows the scene and whose lower row a part of it.
"""

from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent
PREVIEW = FOLDER.parents[1] / "demo/fused.png"
WIDTH = 1280


def save(image: Image.Image, name: str) -> None:
    height = round(image.height * WIDTH / image.width)
    image.resize((WIDTH, height), Image.Resampling.LANCZOS).save(FOLDER / name, quality=85)


def main() -> None:
    preview = Image.open(PREVIEW).convert("RGB")
    rows = preview.height // 2
    save(preview.crop((0, rows, preview.width, preview.height)), "fused.jpg")
    save(preview.crop((0, 0, preview.width, rows)), "fused-scene.jpg")


if __name__ == "__main__":
    main()
