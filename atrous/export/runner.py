"""Label pictures with an exported network: numpy, onnxruntime and Pillow (or OpenCV), nothing else.

python NAME_run.py PICTURE... [-o OUT]        NAME.onnx lies beside this file; OUT/<stem>.png are written

A picture is read as `atrous predict` reads it, or refused in one sentence; the exit code is then 1.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

FULL_SCALE = {"uint8": 255, "uint16": 65535}


class Refused(Exception):
    """Says what is wrong with a picture, and what to do."""


def read(path):  # (H, W, C) in the file's own numbers: uint8, uint16 or float32; colours first, without alpha
    if path.exists() and not path.is_file():
        raise Refused("is no file; give the name of a picture")  # a pipe would never end
    with open(path, "rb") as file:
        start = file.read(26)
    if start.startswith(b"\x89PNG") and b"acTL" in path.read_bytes().partition(b"IDAT")[0]:
        raise Refused("holds several pictures; save each one alone")
    if start.startswith(b"\x93NUMPY"):
        image = np.load(path, allow_pickle=False)
    elif start.startswith(b"\x89PNG") and start[24] == 16 and start[25] != 0:
        image = by_opencv(path)  # Pillow would make 8 bits of them
    else:
        try:
            from PIL import Image
        except ImportError:
            plain = start.startswith(b"\x89PNG") and start[24] in (8, 16) and start[25] in (0, 2)
            if not (plain or (start.startswith(b"\xff\xd8\xff") and usual_jpeg(path.read_bytes()))):
                raise Refused("needs Pillow; run `pip install pillow`, or save it as .npy") from None
            image = by_opencv(path)
        else:
            with Image.open(path) as picture:
                image = by_pillow(picture, start.startswith(b"\x89PNG") and start[24] == 16)
    if image.dtype == bool:
        image = image.astype(np.uint8) * 255
    if image.dtype.kind not in "uif" or 0 in image.shape:
        raise Refused(f"an array of shape {image.shape} and type {image.dtype}; save numbers (H, W) or (H, W, C)")
    image = image.astype(image.dtype.name if image.dtype.name in FULL_SCALE else np.float32)
    if not np.isfinite(image).all():
        raise Refused("holds NaN or infinite values; replace them")
    return image if image.ndim > 2 else image[..., None]


def by_pillow(picture, deep):  # deep: a PNG of 16 bits, grey
    from PIL import ImageOps

    if picture.format not in ("PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF"):
        raise Refused(f"a {picture.format} file; save it as PNG, JPEG, TIFF or .npy")
    if picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
        raise Refused("holds several pictures; save each one alone")
    if picture.format == "TIFF" and (42113 in picture.tag_v2 or (33550 in picture.tag_v2 and picture.mode[-1] in "Aa")):
        raise Refused("a TIFF that says where it holds nothing, which is not read here; label it with `atrous predict`")
    if picture.format == "TIFF" and not (picture.tag_v2.get(274, 1) == 1 and usual_tiff(picture.tag_v2)):
        raise Refused(f"a TIFF of {picture.tag_v2.get(277, 1)} channels that is not read here; save it as .npy")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("1", "L", "F", "I", "I;16", "I;16L", "I;16B", "I;16N"):
        return np.asarray(picture).astype(np.uint16) if deep else np.asarray(picture)
    if picture.mode in ("LA", "La"):
        return np.asarray(picture)[..., 0]
    if picture.mode not in ("P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"):
        raise Refused(f"a picture of Pillow's mode {picture.mode}; save it as RGB, or as .npy")
    return np.asarray(picture.convert("RGB"))


def usual_tiff(tags):  # whether Pillow reads it as it is: 258 bits, 262 meaning, 277 samples, 338 further samples
    bits, meaning, samples, further = max(tags.get(258, (1,))), tags.get(262), tags.get(277, 1), tags.get(338, ())
    if samples == 1:
        return bits <= 8 or meaning == 1
    return bits == 8 and (samples == 3 or (samples == 4 and (meaning == 5 or tuple(further) == (2,))))


def usual_jpeg(data):  # whether it is whole, and of one or three channels
    place = 2
    while data[place + 1 : place + 2] and (data[place + 1] not in range(0xC0, 0xD0) or data[place + 1] in (0xC4, 0xC8)):
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return (
        data[place + 9 : place + 10] in (b"\1", b"\3") and data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 0)) > 0
    )


def by_opencv(path):
    try:
        import cv2
    except ImportError:
        raise Refused("16-bit colours need OpenCV; `pip install opencv-python-headless`, or save it as .npy") from None
    image = cv2.imread(str(path), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise Refused("cannot be decoded; copy it again")
    return image[..., ::-1] if image.ndim == 3 else image


def in_units(image, about):  # float32 (H, W, C) in the channels and units of the training pictures
    channels, kind = len(about["mean"]), image.dtype.name
    if image.shape[-1] == 1 and channels == 3:
        image = np.repeat(image, 3, axis=-1)
    elif image.shape[-1] == 4 and channels == 3:
        image = image[..., :3]
    elif image.shape[-1] == 3 and channels == 1:
        image = np.round(image @ np.array([0.299, 0.587, 0.114])).astype(kind)[..., None]
    if image.shape[-1] != channels:
        raise Refused(f"has {image.shape[-1]} channels, the network takes {channels}; give it {channels}")
    if min(image.shape[:-1]) < about.get("smallest", 1):
        raise Refused(f"has a side below {about['smallest']} pixels, which the network needs; enlarge it")
    white = FULL_SCALE.get(about["dtype"])
    if white and kind in FULL_SCALE:
        return image.astype(np.float32) * np.float32(white / FULL_SCALE[kind])
    if white and 0 < image.max() <= 1:
        raise Refused(f"its values lie in 0..1, the network takes {about['dtype']}; multiply them by {white}")
    return image.astype(np.float32)


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


def write(path, values, about):  # the data set's own values (H, W) as an index PNG; of volumes an .npy file
    if values.ndim == 3:
        return np.save(path, values)
    values = values.astype(np.uint8 if max(about["values"]) < 256 else np.uint16)
    try:
        from PIL import Image

        picture = Image.fromarray(values)
        if values.dtype == np.uint8:
            palette = np.zeros((256, 3), np.uint8)
            palette[about["values"]] = about["colours"]
            picture.putpalette(palette.tobytes())
        return picture.save(path)
    except ImportError:
        import cv2

        return cv2.imwrite(str(path), values)


class Network:
    def __init__(self, path):
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: it would keep and send events
        import onnxruntime

        if path.exists() and not path.is_file():
            raise Refused("it is no file")  # a pipe would never end
        options = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}  # else it prints its faults
        self.session = onnxruntime.InferenceSession(str(path), **options)
        self.about = json.loads(self.session.get_modelmeta().custom_metadata_map["atrous"])

    def __call__(self, image):  # (H, W, C) raw -> (H, W) class indices
        batch = np.ascontiguousarray(np.moveaxis(image, -1, 0)[None], np.float32)
        found = self.session.run(None, {"image": batch})[0][0]
        if self.about["output"] == "labels":
            return found
        if np.isnan(found).any():
            raise Refused("the network answers nan: its weights or the picture's numbers are damaged")
        found = np.clip(found, -(2.0**120), 2.0**120)  # a resize between infinite numbers would give nan
        return upsample_argmax(found, self.about["tail"], image.shape[:2]) if found.ndim == 3 else found.argmax(0)


def printable(text):  # names are data: a terminal must not obey them
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("predictions"))
    parser.add_argument("--overwrite", action="store_true", help="replace label maps that are there already")
    asked = parser.parse_args()
    model = Path(__file__).with_name(Path(__file__).stem[:-4] + ".onnx")
    try:
        network = Network(model)
    except ImportError:
        sys.exit("failed: needs ONNX Runtime; run `pip install onnxruntime`")
    except Exception as error:  # ONNX Runtime's errors share no base
        reason = (str(error) or type(error).__name__).splitlines()[0][:300]
        sys.exit(printable(f"failed: {model}: cannot be opened ({reason}); make it again with `atrous export`"))
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(printable(f"failed: {asked.out}: cannot be made a folder ({error.strerror}); give another -o"))
    inputs, written, failed = {picture.resolve() for picture in asked.pictures}, {}, 0
    for picture in asked.pictures:
        try:
            labels = np.array(network.about["values"])[network(in_units(read(picture), network.about))]
            target = asked.out / f"{picture.stem}{'.npy' if labels.ndim == 3 else '.png'}"
            if target in written or target.resolve() in inputs:
                raise Refused(f"its labels would overwrite {written.get(target, 'a picture')}; give another -o")
            if target.exists() and not asked.overwrite:
                raise Refused(f"{target} is there already; give another -o, or --overwrite")
            whole = asked.out / f".{os.getpid()}{target.suffix}"
            write(whole, labels, network.about)
            whole.replace(target)
            written[target] = f"those of {picture}"
        except Exception as error:  # a damaged picture can raise anything
            why = (str(error) or type(error).__name__).splitlines()[0]
            print(printable(f"failed: {picture}: {why}"), file=sys.stderr)
            failed = 1
    sys.exit(failed)


if __name__ == "__main__":
    main()
