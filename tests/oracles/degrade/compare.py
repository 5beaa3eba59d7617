"""Our degradations beside public implementations. Run by dataloader/tests/oracle_degrade.rs, which writes the cases.

What should agree, and how closely:
  jpeg            Pillow and OpenCV (libjpeg-turbo), same quality, 4:2:0: every pixel within 1 level.
  gaussian_blur   OpenCV, scikit-image and kornia: to 1e-3.
  defocus_blur    a finely supersampled disc through OpenCV's filter2D: to 3e-3. imagecorruptions' disc has a staircase
                  edge and a 3-pixel Gaussian, so its picture is near (32 dB and more), not equal.
  motion_blur     MATLAB's fspecial('motion') through filter2D, in linear light: to 1 level. imagecorruptions blurs
                  sRGB values with a one-sided Gaussian, kornia and albumentations draw an aliased line: none of these
                  should agree.
  gaussian_noise  scikit-image and albumentations: same distribution.
  real_noise      NumPy's Poisson shot noise plus Gaussian read noise: same mean and standard deviation in linear light;
                  without read noise, albumentations' ShotNoise: same deviation to 8% (its curve is a power of 2.2).
                  albumentations' ISONoise perturbs hue and lightness, so its channels go together: it should not agree.
  low_light       OneRestore's syn_low with its guided filter (OpenCV boxes), our choice of light map: to 2e-3. On
                  charts, albumentations' RandomGamma: to 1 level.
  rain            HeavyRainRemoval's render_rain.m in NumPy and OpenCV: same mean, spread, peak and streaks, statistically.
                  kornia and albumentations draw lines of one grey: they should not agree.
  heavy_rain      the same streaks below a veil with one airlight and transmission exp(-beta s), s in (0.09, 1].
  haze            the recovered transmission is exp(-beta d) with d in (0, 1], and one airlight. imagecorruptions' fog
                  lightens a scene by its own brightness and leaves black black, albumentations' is of discs without
                  one airlight: they should not agree.
  snow            OneRestore's blend x (1 - m) + c m, with m in [0, 1]. imagecorruptions' flakes are noise, and it
                  brightens the whole scene besides: only that flakes stand out in both. kornia's snow has no flakes.
  raindrop        imagecorruptions' spatter is another model: only that both touch a part of the picture.
  underwater      no package has it: NumPy's x exp(-b d) + B (1 - exp(-b d)) with one depth for all channels.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")
import camera  # noqa: E402
import weather  # noqa: E402
from common import failures  # noqa: E402


def main() -> None:
    folder = Path(sys.argv[1])
    np.random.seed(0)
    for case in json.loads((folder / "cases.json").read_text()):
        category, shape = case["category"], (3, case["height"], case["width"])
        clean, degraded = [
            np.ascontiguousarray(np.fromfile(folder / case[key], "<f4").reshape(shape).transpose(1, 2, 0))
            for key in ("clean", "degraded")
        ]
        print(category, end=": ")
        check = getattr(camera, category, None) or getattr(weather, category)
        check(clean, degraded, case["about"])
    if failures:
        sys.exit(f"{len(failures)} disagreements:\n" + "\n".join(failures))


main()
