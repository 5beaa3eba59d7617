"""Writes dataloader/tests/golden/jpeg-*.png: a small picture of odd size, and what libjpeg-turbo makes of it.

    python tests/oracles/degrade/jpeg_golden.py dataloader/tests/golden

The picture is drawn here, so no photograph's licence is involved: a ramp, rings, coloured squares, and noise.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

QUALITIES = (1, 10, 35, 50, 75, 96, 100)


def picture(width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:height, :width]
    rings = 0.5 + 0.5 * np.cos(0.06 * ((x - 20) ** 2 + (y - 15) ** 2))
    colour = np.stack([x / width, rings, (x // 9 + y // 7) % 2], axis=-1)
    colour[height // 2 :, : width // 3] = rng.random((height - height // 2, width // 3, 3))
    return np.round(255 * colour).astype(np.uint8)


def main() -> None:
    folder = Path(sys.argv[1])
    clean = picture(61, 43)
    Image.fromarray(clean).save(folder / "jpeg-clean.png")
    for quality in QUALITIES:
        stream = io.BytesIO()
        Image.fromarray(clean).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
        Image.open(stream).convert("RGB").save(folder / f"jpeg-{quality:03}.png")


main()
