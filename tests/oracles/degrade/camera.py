"""What happens in the camera: JPEG, blurs, noise, low light."""

import io

import albumentations
import cv2
import kornia
import numpy as np
from common import bytes_of, decode, encode, expect, filter2d, fspecial_motion, psnr, with_albumentations, with_kornia
from imagecorruptions.corruptions import disk
from PIL import Image
from scipy.stats import ks_2samp
from skimage.filters import gaussian
from skimage.util import random_noise


def jpeg(clean, degraded, about):
    quality = about["quality"]
    stream = io.BytesIO()
    Image.fromarray(bytes_of(clean)).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    pillow = np.asarray(Image.open(stream).convert("RGB")).astype(int)
    _, coded = cv2.imencode(".jpg", bytes_of(clean)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    opencv = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    for name, theirs in [("Pillow", pillow), ("OpenCV", opencv)]:
        worst = np.abs(theirs - bytes_of(degraded).astype(int)).max()
        size = f"{clean.shape[1]}x{clean.shape[0]}"
        expect(worst <= 1, f"quality {quality}, {size}: worst pixel {worst} levels from {name}")


def gaussian_blur(clean, degraded, about):
    sigma = about["sigma"]
    opencv = cv2.GaussianBlur(clean, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    skimage = gaussian(clean, sigma, mode="mirror", truncate=4, channel_axis=-1)
    side = 2 * int(np.ceil(4 * sigma)) + 1
    blur = kornia.filters.gaussian_blur2d
    theirs_kornia = with_kornia(lambda t: blur(t, (side, side), (sigma, sigma), "reflect"), clean)
    for name, theirs in [("OpenCV", opencv), ("scikit-image", skimage), ("kornia", theirs_kornia)]:
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


def motion_blur(clean, degraded, about):
    # Our angles grow clockwise, as rows do.
    length, angle = about["length"], about["angle"]
    kernel = fspecial_motion(length, -angle)
    theirs = encode(filter2d(decode(clean).astype(np.float32), kernel))
    worst = np.abs(theirs - degraded).max() * 255
    expect(worst < 1, f"length {length}, angle {angle}: {worst:.2f} levels from fspecial")
    blur = kornia.filters.motion_blur
    lines = [with_kornia(lambda t, a=a: blur(t, int(length), a, 0.0), clean) for a in (float(angle), -float(angle))]
    nearest = min(np.abs(line - degraded).max() for line in lines) * 255
    expect(nearest > 2, f"length {length}, angle {angle}: {nearest:.0f} levels from kornia's line over sRGB values")


def gaussian_noise(clean, degraded, about):
    sigma = about["sigma"] / 255
    skimage = random_noise(clean, "gaussian", rng=1, var=sigma**2)
    noise = albumentations.GaussNoise(std_range=(sigma, sigma), p=1)
    for name, theirs, limit in [
        ("scikit-image", skimage, 0.012),
        # Rounded to 8 bit: so are ours for this.
        ("albumentations", with_albumentations(noise, clean), 0.03),
    ]:
        ours = degraded if name == "scikit-image" else bytes_of(degraded) / 255
        distance = ks_2samp(theirs[..., 0].ravel(), ours[..., 0].ravel()).statistic
        expect(distance < limit, f"sigma {about['sigma']}: Kolmogorov-Smirnov distance {distance:.4f} from {name}")
    channels = np.corrcoef(degraded[..., 0].ravel(), degraded[..., 1].ravel())[0, 1]
    expect(abs(channels - about["grey"]) < 0.02, f"grey is {about['grey']}: channels correlate by {channels:.3f}")


def real_noise(clean, degraded, about):
    level, shot, read = clean[0, 0, 0], about["shot"], about["read"]
    rng = np.random.default_rng(1)
    x, ours, a = decode(clean), decode(degraded), shot**2
    theirs = rng.poisson(x / a) * a + rng.normal(0, read, x.shape)
    for name, f, limit in [("mean", np.mean, 0.01), ("deviation", np.std, 0.03)]:
        ratio = f(ours) / f(theirs)
        expect(abs(ratio - 1) < limit, f"level {level:.1f}: {name} is {ratio:.4f} of Poisson plus Gaussian")
    if read == 0:
        peer = with_albumentations(albumentations.ShotNoise(scale_range=(a, a), p=1), clean)
        ratio = np.std(degraded) / np.std(peer)
        expect(abs(ratio - 1) < 0.08, f"level {level:.1f}: deviation is {ratio:.3f} of albumentations' ShotNoise")
        return
    iso = with_albumentations(albumentations.ISONoise(p=1), clean)
    both = [np.corrcoef(p[..., 0].ravel(), p[..., 1].ravel())[0, 1] for p in (degraded, iso)]
    expect(abs(both[0]) < 0.02 and both[1] > 0.3, "channels correlate by {:.2f}; ISONoise's by {:.2f}".format(*both))


def low_light(clean, degraded, about):
    if about["radius"] is None:
        worst = np.abs(clean ** about["gamma"] - degraded).max()
        expect(worst < 1e-5, f"gamma {about['gamma']}: {worst:.1e} from a power")
        gamma = 100 * about["gamma"]
        theirs = with_albumentations(albumentations.RandomGamma(gamma_limit=(gamma, gamma), p=1), clean)
        worst = np.abs(theirs - degraded).max() * 255
        expect(worst <= 1, f"gamma {about['gamma']}: {worst:.2f} levels from albumentations' RandomGamma")
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
