"""What the comparisons share: a line per statement, the sRGB curve, filtering as OpenCV does."""

import cv2
import numpy as np
import torch

failures = []


def expect(ok: bool, text: str) -> None:
    print(("ok    " if ok else "FAIL  ") + text)
    if not ok:
        failures.append(text)


def decode(v):
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def encode(v):
    return np.where(v <= 0.0031308, 12.92 * v, 1.055 * np.maximum(v, 0.0031308) ** (1 / 2.4) - 0.055)


def bytes_of(picture):
    return np.round(picture * 255).astype(np.uint8)


def with_kornia(f, picture):
    """f of a [1, 3, h, w] tensor, as h x w x 3 again."""
    torch.manual_seed(0)
    tensor = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
    return f(tensor)[0].numpy().transpose(1, 2, 0)


def with_albumentations(transform, picture):
    """The transform of the 8-bit picture, in [0, 1]."""
    transform.set_random_seed(0)
    return transform(image=bytes_of(picture))["image"] / 255


def filter2d(picture, kernel):
    return cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2))


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
