"""What happens before the camera: rain, snow, drops, haze, water."""

import albumentations
import cv2
import kornia.augmentation
import numpy as np
from common import expect, filter2d, fspecial_motion, with_albumentations, with_kornia
from imagecorruptions.corruptions import fog
from imagecorruptions.corruptions import snow as their_snow
from imagecorruptions.corruptions import spatter

# imagecorruptions was written for NumPy 1.
np.float_ = np.float64

def render_rain(about, side, rng):
    margin = 64
    n = side + 2 * margin
    noise = np.clip(rng.normal(about["mean"], np.sqrt(about["variance"]), (n, n)), 0, 1)
    large = cv2.resize(noise, None, fx=about["enlargement"], fy=about["enlargement"], interpolation=cv2.INTER_CUBIC)
    streaks = filter2d(large, fspecial_motion(about["length"], -about["angle"]))
    middle = streaks[margin : margin + side, margin : margin + side]
    return np.clip(about["tau"] * np.maximum(middle, 0), 0, 1)


def streaks_like_render_rain(streaks, about):
    rng = np.random.default_rng(1)
    theirs = [render_rain(about, 256, rng) for _ in range(8)]

    def lag(p):
        return np.corrcoef(p[:, :-4].ravel(), p[:, 4:].ravel())[0, 1], np.corrcoef(p[:-1].ravel(), p[1:].ravel())[0, 1]

    what = f"length {about['length']:.0f}"
    for name, f in [("mean", np.mean), ("deviation", np.std), ("99th percentile", lambda p: np.percentile(p, 99))]:
        ratio = f(streaks) / np.mean([f(p) for p in theirs])
        expect(abs(ratio - 1) < 0.1, f"{what}: {name} is {ratio:.3f} of render_rain.m's")
    for name, a, b in zip(("4 px across", "1 px along"), lag(streaks), np.mean([lag(p) for p in theirs], axis=0)):
        expect(abs(a - b) < 0.08, f"{what}: correlation {name} {a:.2f}, render_rain.m's {b:.2f}")


def rain(clean, degraded, about):
    streaks_like_render_rain(degraded[..., 0], about)
    # On a picture of one grey, rain is light of many strengths. Theirs are lines of one grey, and a darker scene.
    grey = np.full_like(clean, 0.3)
    lines = with_kornia(kornia.augmentation.RandomRain(p=1.0), grey)
    values = len(np.unique(np.round(lines[np.abs(lines - 0.3) > 1e-4], 4)))
    darker = np.mean(with_albumentations(albumentations.RandomRain(p=1), grey) < 0.29)
    ours = len(np.unique(np.round(degraded, 4)))
    expect(ours > 100 and values == 1, f"streaks have {ours} brightnesses; kornia's lines {values}")
    expect(degraded.min() >= 0 and darker > 0.5, f"rain darkens nothing; albumentations' {darker:.0%} of the scene")


black = None


def after_black(clean, degraded):
    """Every case is black and then white, degraded alike. True at the white one."""
    global black
    if clean.max() == 0:
        black = degraded
        print()
        return False
    return True


def heavy_rain(clean, degraded, about):
    if not after_black(clean, degraded):
        return
    beta, airlight = about["beta"], about["airlight"]
    # White stays white under streaks, so what is seen of it is the veil's: t + A (1 - t).
    t = ((degraded - airlight) / (1 - airlight)).astype(float)
    way = -np.log(t) / beta
    expect(0.09 < way.min() and way.max() < 1.001, f"light's way through the veil from {way.min():.3f} to {way.max():.3f}")
    streaks = (black - airlight * (1 - t)) / t
    streaks_like_render_rain(streaks[..., 0], about)


def haze(clean, degraded, about):
    if not after_black(clean, degraded):
        return
    t = degraded - black
    depth = -np.log(t) / about["beta"]
    expect(0 < depth.min() and depth.max() < 1.001, f"depth from {depth.min():.3f} to {depth.max():.3f}")
    worst = np.abs(black - about["airlight"] * (1 - t)).max()
    expect(worst < 1e-5, f"airlight {about['airlight']:.2f}: {worst:.1e} from A (1 - t)")

    fogged = fog(np.zeros((256, 256, 3), np.uint8), 3).max() / 255
    expect(black.min() > 0.01 and fogged == 0, f"black is veiled; imagecorruptions' fog leaves it at {fogged:.2f}")
    discs = albumentations.RandomFog(fog_coef_range=(0.5, 0.5), p=1)
    dark, light = [with_albumentations(discs, np.full((256, 256, 3), v)) for v in (0.0, 1.0)]
    spread = np.std(dark / np.clip(1 - (light - dark), 0.02, 1))
    expect(spread > 0.02, f"one airlight; albumentations' fog has many, which spread by {spread:.2f}")


def underwater(clean, degraded, about):
    if not after_black(clean, degraded):
        return
    t = (degraded - black).astype(float)
    depth = -np.log(t) / np.array(about["attenuation"])
    spread = np.ptp(depth, axis=-1).max()
    expect(0 < depth.min() and depth.max() < 1.001, f"depth from {depth.min():.3f} to {depth.max():.3f}")
    expect(spread < 1e-3, f"the three channels see one depth, to {spread:.1e}")
    worst = np.abs(black - np.array(about["scatter"]) * (1 - t)).max()
    expect(worst < 1e-5, f"{worst:.1e} from B (1 - exp(-b d))")


def snow(clean, degraded, about):
    if not after_black(clean, degraded):
        return
    m = 1 - (degraded - black)
    worst = np.abs(black - about["brightness"] * m).max()
    expect(m.min() > -1e-6 and m.max() < 1 + 1e-6 and worst < 1e-5, f"{worst:.1e} from OneRestore's blend c m")
    grey = np.full(clean.shape, 100, np.uint8)
    np.random.seed(0)
    theirs = their_snow(grey, 2) / 255 - 100 / 255
    ours, peer = [np.percentile(p, 95) - np.percentile(p, 20) for p in (m[..., 0], theirs[..., 0])]
    expect(ours > 0.05 and peer > 0.05, f"flakes rise {ours:.2f} above the rest; imagecorruptions' {peer:.2f}")
    between = m.min(), theirs.min()
    expect(between[0] < 0.01 and between[1] > 0.05, "between flakes {:.2f}; imagecorruptions brightens by {:.2f}".format(*between))
    spread = np.std(with_kornia(kornia.augmentation.RandomSnow(p=1.0), grey.astype(np.float32) / 255))
    expect(np.std(m) > 0.01 and spread < 1e-6, f"kornia's snow has no flakes: it spreads by {spread:.3f} on a grey")


def raindrop(clean, degraded, about):
    np.random.seed(0)
    theirs = spatter((clean * 255).astype(np.uint8), 3) / 255
    ours, peer = [np.mean(np.abs(p - clean).max(axis=-1) > 2 / 255) for p in (degraded, theirs)]
    expect(0 < ours < 0.8 and peer > 0, f"{ours:.2f} of the pixels change; imagecorruptions' spatter: {peer:.2f}")
