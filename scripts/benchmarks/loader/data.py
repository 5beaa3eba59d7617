"""Makes what the loaders read, from the photographs in FOLDER: `python data.py FOLDER OUT`.

    OUT/pairs/{input,target}      whole PNG files of at least 720 px; `input` is degraded
    OUT/small/{input,target}      256 px cuts of them
    OUT/{pairs,small}-cut         PNG sub-images as BasicSR's extract_subimages.py cuts them: 480 px, step 240
    OUT/{pairs,small}-mds         the sub-images as PNG in MDS shards (mosaicml-streaming)
    OUT/{pairs,small}-mds-raw     the same, their pixels as they are
    OUT/{pairs,small}-wds         the sub-images as PNG in tar files (webdataset)

The degradation changes from photograph to photograph: Gaussian noise of standard deviation 15, Gaussian blur of
standard deviation 2, JPEG at quality 30.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

SHORT_SIDE, SIDE, STEP, SMALL, SMALL_PER_PHOTOGRAPH = 720, 480, 240, 256, 8
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 3]


def degrade(number, image):
    kind = number % 3
    if kind == 0:
        noise = np.random.default_rng(number).normal(0, 15, image.shape)
        return np.clip(image + noise + 0.5, 0, 255).astype(np.uint8)
    if kind == 1:
        return cv2.GaussianBlur(image, (0, 0), 2)
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)


def save(folder, name, lq, hq):
    for side, image in ("input", lq), ("target", hq):
        (folder / side).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / side / f"{name}.png"), image, PNG)


def cut(folder, out):
    """Sub-images: corners every STEP pixels, the last ones moved in to the edge."""
    for path in sorted((folder / "input").iterdir()):
        lq, hq = cv2.imread(str(path)), cv2.imread(str(folder / "target" / path.name))
        height, width = lq.shape[:2]
        ys, xs = ([*range(0, max(size - SIDE, 0), STEP), max(size - SIDE, 0)] for size in (height, width))
        corners = [(y, x) for y in ys for x in xs]
        for n, (y, x) in enumerate(corners):
            part = slice(y, y + SIDE), slice(x, x + SIDE)
            save(out, f"{path.stem}_s{n:03}", lq[part], hq[part])


def shards(folder, out):
    import webdataset
    from streaming import MDSWriter

    names = sorted(path.name for path in (folder / "input").iterdir())
    np.random.default_rng(0).shuffle(names)
    read = [[(folder / side / name).read_bytes() for side in ("input", "target")] for name in names]
    with MDSWriter(out=f"{out}-mds", columns={"lq": "bytes", "hq": "bytes"}, size_limit=1 << 26) as writer:
        for lq, hq in read:
            writer.write({"lq": lq, "hq": hq})
    columns = {"lq": "ndarray:uint8", "hq": "ndarray:uint8"}
    with MDSWriter(out=f"{out}-mds-raw", columns=columns, size_limit=1 << 26) as writer:
        for pair in read:
            lq, hq = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in pair)
            writer.write({"lq": lq, "hq": hq})
    Path(f"{out}-wds").mkdir()
    with webdataset.ShardWriter(f"{out}-wds/%05d.tar", maxsize=1 << 26, verbose=0) as writer:
        for name, (lq, hq) in zip(names, read):
            writer.write({"__key__": name.removesuffix(".png"), "lq.png": lq, "hq.png": hq})


def main():
    photographs, out = Path(sys.argv[1]), Path(sys.argv[2])
    for number, path in enumerate(sorted(photographs.glob("*/*.png"))):
        image = cv2.imread(str(path))
        if min(image.shape[:2]) < SHORT_SIDE:
            continue
        degraded = degrade(number, image)
        save(out / "pairs", path.stem, degraded, image)
        random = np.random.default_rng(number)
        for n in range(SMALL_PER_PHOTOGRAPH):
            y, x = (random.integers(size - SMALL) for size in image.shape[:2])
            part = slice(y, y + SMALL), slice(x, x + SMALL)
            save(out / "small", f"{path.stem}_{n}", degraded[part], image[part])
    cut(out / "pairs", out / "pairs-cut")
    shards(out / "pairs-cut", out / "pairs")
    shards(out / "small", out / "small")


if __name__ == "__main__":
    main()
