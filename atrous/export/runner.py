"""Label pictures with an exported network: numpy, onnxruntime and Pillow (or OpenCV), nothing else.

python NAME_run.py PICTURE... [-o OUT]        NAME.onnx lies beside this file; OUT/<stem>.png are written
"""

import argparse
import json
from pathlib import Path

import numpy as np


def read(path, channels):  # (H, W, C) float32, raw values; .npy for anything that is no 8-bit picture
    if path.suffix == ".npy":
        return np.load(path).astype(np.float32)
    try:
        from PIL import Image, ImageOps

        image = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("L" if channels == 1 else "RGB"))
    except ImportError:
        import cv2

        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB)
    return image.reshape(*image.shape[:2], -1).astype(np.float32)


def taps(n, size, start, count, align):  # lower and upper source of each target pixel, and the upper one's weight
    i = np.arange(start, start + count, dtype=np.float32)
    c = i * np.float32((n - 1) / max(size - 1, 1)) if align else np.maximum((i + 0.5) * np.float32(n / size) - 0.5, 0)
    low = np.minimum(c.astype(np.int64), n - 1)
    return low, np.minimum(low + 1, n - 1), (c - low).astype(np.float32)


def upsample_argmax(logits, tail, image):  # (K, h, w), image (H, W) -> labels (H, W); a band of a class at a time
    axes = []
    for n, side, start in zip(logits.shape[1:], image, tail["crop"] or (0, 0), strict=True):
        size = side if tail["scale"] is None else tail["scale"] * n + tail["shift"]
        axes.append(taps(n, size, start, side, tail["align_corners"]))
    (r0, r1, rt), (c0, c1, ct) = axes
    labels = np.zeros(image, np.uint8 if len(logits) <= 256 else np.uint16)
    for band in (slice(top, top + 64) for top in range(0, image[0], 64)):
        best = np.float32(-np.inf)
        for k, plane in enumerate(logits):
            rows = plane[r0[band]] + rt[band, None] * (plane[r1[band]] - plane[r0[band]])
            left = rows[:, c0]
            score = left + ct * (rows[:, c1] - left)
            labels[band][score > best] = k
            best = np.maximum(best, score)
    return labels


def write(stem, values, about):  # the data set's own values (H, W) as an index PNG; of volumes an .npy file
    if values.ndim == 3:
        return np.save(stem.with_suffix(".npy"), values)
    values = values.astype(np.uint8 if max(about["values"]) < 256 else np.uint16)
    try:
        from PIL import Image

        picture = Image.fromarray(values)
        if values.dtype == np.uint8:
            palette = np.zeros((256, 3), np.uint8)
            palette[about["values"]] = about["colours"]
            picture.putpalette(palette.tobytes())
        return picture.save(stem.with_suffix(".png"))
    except ImportError:
        import cv2

        return cv2.imwrite(str(stem.with_suffix(".png")), values)


class Network:
    def __init__(self, path):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.about = json.loads(self.session.get_modelmeta().custom_metadata_map["atrous"])

    def __call__(self, image):  # (H, W, C) raw -> (H, W) class indices
        batch = np.ascontiguousarray(np.moveaxis(image, -1, 0)[None], np.float32)
        found = self.session.run(None, {"image": batch})[0][0]
        if self.about["output"] == "labels":
            return found
        return upsample_argmax(found, self.about["tail"], image.shape[:2]) if found.ndim == 3 else found.argmax(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("predictions"))
    asked, network = parser.parse_args(), Network(Path(__file__).with_name(Path(__file__).stem[:-4] + ".onnx"))
    asked.out.mkdir(parents=True, exist_ok=True)
    for picture in asked.pictures:
        labels = network(read(picture, len(network.about["mean"])))
        write(asked.out / picture.stem, np.array(network.about["values"])[labels], network.about)
