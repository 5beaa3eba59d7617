"""Our degradations beside public implementations. Run by dataloader/tests/oracle_degrade.rs, which writes the cases.

What should agree, and how closely:
  jpeg            Pillow (libjpeg-turbo), same quality, 4:2:0: every pixel within 1 level.
  gaussian_blur   OpenCV and scikit-image: to 1e-3.
  defocus_blur    a finely supersampled disc through OpenCV's filter2D: to 3e-3. imagecorruptions' disc has a staircase
                  edge and a 3-pixel Gaussian, so its picture is near (32 dB and more), not equal.
  motion_blur     MATLAB's fspecial('motion') through filter2D, in linear light: to 1 level. imagecorruptions blurs
                  sRGB values with a one-sided Gaussian, albumentations draws an aliased line: neither should agree.
  gaussian_noise  scikit-image's random_noise: same distribution.
  real_noise      NumPy's Poisson shot noise plus Gaussian read noise: same mean and standard deviation in linear light.
                  albumentations' ISONoise perturbs hue and lightness: it should not agree.
  low_light       OneRestore's syn_low with its guided filter (OpenCV boxes), our choice of light map: to 2e-3.
  rain            HeavyRainRemoval's render_rain.m in NumPy and OpenCV: same mean, spread, peak and streaks, statistically.
                  albumentations and kornia draw plain grey lines: they should not agree.
  haze            the recovered transmission is exp(-beta d) with d in (0, 1], and one airlight. imagecorruptions' fog
                  and albumentations' add bright fractals or discs without a depth: they should not agree.
  snow, raindrop  imagecorruptions' snow and spatter are other models: only that both brighten some pixels a lot and
                  leave many alone (snow), and that both touch a part of the picture (raindrop).
"""

import io
import json
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.stats import ks_2samp
from skimage.filters import gaussian
from skimage.util import random_noise

warnings.filterwarnings("ignore")
from imagecorruptions.corruptions import disk, snow, spatter  # noqa: E402

failures = []


def expect(ok: bool, text: str) -> None:
    print(("ok    " if ok else "FAIL  ") + text)
    if not ok:
        failures.append(text)


def decode(v):
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def encode(v):
    return np.where(v <= 0.0031308, 12.92 * v, 1.055 * np.maximum(v, 0.0031308) ** (1 / 2.4) - 0.055)


def filter2d(picture, kernel):
    return cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2))


def jpeg(clean, degraded, about):
    stream = io.BytesIO()
    Image.fromarray(np.round(clean * 255).astype(np.uint8)).save(
        stream, "JPEG", quality=about["quality"], subsampling="4:2:0"
    )
    theirs = np.asarray(Image.open(stream).convert("RGB")).astype(int)
    worst = np.abs(theirs - np.round(degraded * 255).astype(int)).max()
    expect(worst <= 1, f"quality {about['quality']}, {clean.shape[1]}x{clean.shape[0]}: worst pixel {worst} levels off")


def gaussian_blur(clean, degraded, about):
    sigma = about["sigma"]
    opencv = cv2.GaussianBlur(clean, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    skimage = gaussian(clean, sigma, mode="mirror", truncate=4, channel_axis=-1)
    for name, theirs in [("OpenCV", opencv), ("scikit-image", skimage)]:
        worst = np.abs(theirs - degraded).max()
        expect(worst < 1e-3, f"sigma {sigma}: {worst:.1e} from {name}")


def defocus_blur(clean, degraded, about):
    radius, softness = about["radius"], about["softness"]
    r, fine = int(np.ceil(radius)) + 3, 33
    at = (np.arange((2 * r + 1) * fine) - ((2 * r + 1) * fine - 1) / 2) / fine
    inside = (at[:, None] ** 2 + at[None, :] ** 2 <= radius**2).astype(np.float32)
    kernel = inside.reshape(2 * r + 1, fine, 2 * r + 1, fine).mean(axis=(1, 3))
    kernel = cv2.GaussianBlur(kernel, (7, 7), softness, borderType=cv2.BORDER_CONSTANT)
    worst = np.abs(filter2d(clean, kernel / kernel.sum()) - degraded).max()
    expect(worst < 3e-3, f"radius {radius}: {worst:.1e} from a supersampled disc")
    level = psnr(filter2d(clean, disk(radius, softness)), degraded)
    expect(level > 32, f"radius {radius}: {level:.1f} dB from imagecorruptions")


def fspecial_motion(length, angle):
    """MATLAB's fspecial('motion', length, angle); angles grow counter-clockwise."""
    half = (max(1, length) - 1) / 2
    phi = np.deg2rad(angle % 180)
    cos, sin = np.cos(phi), np.sin(phi)
    sign = 1 if cos >= 0 else -1
    eps = np.finfo(float).eps
    sx, sy = np.fix(half * cos + sign - length * eps), np.fix(half * sin + 1 - length * eps)
    x, y = np.meshgrid(np.arange(0, sx + sign, sign), np.arange(0, sy + 1))
    distance = y * cos - x * sin
    end = (np.hypot(x, y) >= half) & (np.abs(distance) <= 1)
    beyond = half - np.abs((x[end] + distance[end] * sin) / cos)
    distance[end] = np.sqrt(distance[end] ** 2 + beyond**2)
    quarter = np.maximum(1 + eps - np.abs(distance), 0)
    kernel = np.zeros([2 * n - 1 for n in quarter.shape])
    kernel[: quarter.shape[0], : quarter.shape[1]] = np.rot90(quarter, 2)
    kernel[quarter.shape[0] - 1 :, quarter.shape[1] - 1 :] = quarter
    kernel /= kernel.sum() + eps * length * length
    return np.flipud(kernel) if cos > 0 else kernel


def motion_blur(clean, degraded, about):
    # Our angles grow clockwise, as rows do.
    kernel = fspecial_motion(about["length"], -about["angle"])
    theirs = encode(filter2d(decode(clean).astype(np.float32), kernel))
    worst = np.abs(theirs - degraded).max() * 255
    expect(worst < 1, f"length {about['length']}, angle {about['angle']}: {worst:.2f} levels from fspecial")


def gaussian_noise(clean, degraded, about):
    sigma = about["sigma"] / 255
    theirs = random_noise(clean, "gaussian", rng=1, var=sigma**2)
    distance = ks_2samp(theirs[..., 0].ravel(), degraded[..., 0].ravel()).statistic
    expect(distance < 0.012, f"sigma {about['sigma']}: Kolmogorov-Smirnov distance {distance:.4f} from scikit-image")
    channels = np.corrcoef(degraded[..., 0].ravel(), degraded[..., 1].ravel())[0, 1]
    expect(abs(channels - about["grey"]) < 0.02, f"grey is {about['grey']}: channels correlate by {channels:.3f}")


def real_noise(clean, degraded, about):
    rng = np.random.default_rng(1)
    x, ours, a = decode(clean), decode(degraded), about["shot"] ** 2
    theirs = rng.poisson(x / a) * a + rng.normal(0, about["read"], x.shape)
    for name, f, limit in [("mean", np.mean, 0.01), ("deviation", np.std, 0.03)]:
        ratio = f(ours) / f(theirs)
        expect(abs(ratio - 1) < limit, f"level {clean[0, 0, 0]:.1f}: {name} is {ratio:.4f} of Poisson plus Gaussian")


def low_light(clean, degraded, about):
    if about["radius"] is None:
        worst = np.abs(clean ** about["gamma"] - degraded).max()
        expect(worst < 1e-5, f"gamma {about['gamma']}: {worst:.1e} from a power")
        return
    side = 2 * about["radius"] + 1

    def box(p):
        return cv2.blur(p, (side, side), borderType=cv2.BORDER_REFLECT_101)

    guide = cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)
    light = clean.max(axis=-1)
    mean_i, mean_p = box(guide), box(light)
    a = (box(guide * light) - mean_i * mean_p) / (box(guide * guide) - mean_i**2 + 0.01)
    b = mean_p - a * mean_i
    light = np.clip(box(a) * guide + box(b), 0, 1)[..., None]
    theirs = np.clip(clean / (light + 1e-7) * (light + 1e-7) ** about["gamma"], 0, 1)
    worst = np.abs(theirs - degraded).max()
    expect(worst < 2e-3, f"gamma {about['gamma']}: {worst:.1e} from OneRestore's formula")


def render_rain(about, side, rng):
    margin = 64
    n = side + 2 * margin
    noise = np.clip(rng.normal(about["mean"], np.sqrt(about["variance"]), (n, n)), 0, 1)
    large = cv2.resize(noise, None, fx=about["enlargement"], fy=about["enlargement"], interpolation=cv2.INTER_CUBIC)
    streaks = filter2d(large, fspecial_motion(about["length"], -about["angle"]))
    middle = streaks[margin : margin + side, margin : margin + side]
    return np.clip(about["tau"] * np.maximum(middle, 0), 0, 1)


def rain(clean, degraded, about):
    rng = np.random.default_rng(1)
    theirs = [render_rain(about, 256, rng) for _ in range(8)]

    def lag(p):
        return np.corrcoef(p[:, :-4].ravel(), p[:, 4:].ravel())[0, 1], np.corrcoef(p[:-1].ravel(), p[1:].ravel())[0, 1]

    ours = degraded[..., 0]
    for name, f in [("mean", np.mean), ("deviation", np.std), ("99th percentile", lambda p: np.percentile(p, 99))]:
        ratio = f(ours) / np.mean([f(p) for p in theirs])
        expect(abs(ratio - 1) < 0.1, f"length {about['length']:.0f}: {name} is {ratio:.3f} of render_rain.m's")
    for name, a, b in zip(("4 px across", "1 px along"), lag(ours), np.mean([lag(p) for p in theirs], axis=0)):
        expect(abs(a - b) < 0.08, f"length {about['length']:.0f}: correlation {name} {a:.2f}, render_rain.m's {b:.2f}")


black = None


def haze(clean, degraded, about):
    global black
    if clean.max() == 0:
        black = degraded
        return
    t = degraded - black
    depth = -np.log(t) / about["beta"]
    expect(0 < depth.min() and depth.max() < 1.001, f"depth from {depth.min():.3f} to {depth.max():.3f}")
    worst = np.abs(black - about["airlight"] * (1 - t)).max()
    expect(worst < 1e-5, f"airlight {about['airlight']:.2f}: {worst:.1e} from A (1 - t)")


def changed(clean, degraded):
    return np.mean(np.abs(degraded - clean).max(axis=-1) > 2 / 255)


def snow_(clean, degraded, about):
    theirs = snow((clean * 255).astype(np.uint8), 2) / 255
    ours, peer = [np.mean((p - clean).max(axis=-1) > 0.15) for p in (degraded, theirs)]
    expect(0 < ours < 0.6 and peer > 0, f"{ours:.2f} of the pixels are much brighter; imagecorruptions: {peer:.2f}")
    expect((degraded - clean).min() > -0.1, "nothing gets much darker")


def raindrop(clean, degraded, about):
    theirs = spatter((clean * 255).astype(np.uint8), 3) / 255
    ours, peer = changed(clean, degraded), changed(clean, theirs)
    expect(0 < ours < 0.8 and peer > 0, f"{ours:.2f} of the pixels change; imagecorruptions' spatter: {peer:.2f}")


checks = {name: f for name, f in globals().items() if callable(f)} | {"snow": snow_}


def main() -> None:
    folder = Path(sys.argv[1])
    np.random.seed(0)
    for case in json.loads((folder / "cases.json").read_text()):
        shape = (3, case["height"], case["width"])
        clean, degraded = [
            np.ascontiguousarray(np.fromfile(folder / case[key], "<f4").reshape(shape).transpose(1, 2, 0))
            for key in ("clean", "degraded")
        ]
        print(case["category"], end=": ")
        checks[case["category"]](clean, degraded, case["about"])
    if failures:
        sys.exit(f"{len(failures)} disagreements:\n" + "\n".join(failures))


main()
