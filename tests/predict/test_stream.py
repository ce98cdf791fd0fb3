"""Files in, label maps out: each right or one sentence, one bad file stops nothing, videos keep their frame rate."""

import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from brightness import photo, predictor
from PIL import Image

from atrous.errors import DataError, ModelError
from atrous.io import pictures, read_mask, write_image
from atrous.predict import stream
from atrous.predict.stream import predict_files
from atrous.predict.video import STILL, Flicker, label_video

tifffile = pytest.importorskip("tifffile")


def expected(image: np.ndarray) -> np.ndarray:
    return (image.astype(float).mean(2) > 127.5).astype(np.uint8)


def test_every_kind_of_picture_is_right_or_one_sentence(tmp_path: Path) -> None:
    image = photo()
    grey = Image.fromarray(image).convert("L")
    red, blue = np.full((6, 8, 3), (255, 200, 0), np.uint8), np.full((6, 8, 3), (0, 0, 200), np.uint8)
    good: dict[str, np.ndarray] = {}
    Image.fromarray(image).save(tmp_path / "colour.png")
    good["colour"] = image
    grey.save(tmp_path / "grey.png")
    good["grey"] = np.asarray(grey)[..., None]
    Image.fromarray(image[:1, :1]).save(tmp_path / "pixel.png")
    good["pixel"] = image[:1, :1]
    tifffile.imwrite(tmp_path / "deep.tif", image.astype(np.uint16) * 257, photometric="rgb")
    good["deep"] = image
    Image.fromarray(red).convert("CMYK").save(tmp_path / "cmyk.tif")
    good["cmyk"] = red
    Image.fromarray(blue).quantize(4).save(tmp_path / "palette.png")
    good["palette"] = blue
    Image.fromarray(np.dstack([image, image[..., :1]])).save(tmp_path / "alpha.png")
    good["alpha"] = image
    np.save(tmp_path / "array.npy", image.astype(np.float64))
    good["array"] = image

    np.save(tmp_path / "bad12.npy", np.zeros((5, 6, 12), np.uint8))
    np.save(tmp_path / "badempty.npy", np.zeros((0, 6, 3), np.uint8))
    np.save(tmp_path / "badnan.npy", np.full((5, 6, 3), np.nan, np.float32))
    np.save(tmp_path / "badunits.npy", image / np.float32(255))
    data = (tmp_path / "colour.png").read_bytes()
    (tmp_path / "badcut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "badzero.jpg").write_bytes(b"")
    paths = sorted(path for path in tmp_path.iterdir())

    with pytest.warns(UserWarning, match="the image has 16 bits"):
        done, failed = predict_files(predictor(), paths, tmp_path / "out")
    assert done == len(good)
    for stem, pixels in good.items():
        np.testing.assert_array_equal(read_mask(tmp_path / "out" / f"{stem}.png"), expected(pixels), err_msg=stem)
        assert (tmp_path / "out" / "overlays" / f"{stem}.jpg").exists()
    said = {path.stem: sentence for path, sentence in zip([p for p in paths if "bad" in p.stem], failed, strict=True)}
    assert all(name in sentence and "\n" not in sentence for name, sentence in said.items())
    for name, part in {
        "bad12": "12 channels, but the model was trained on 3",
        "badempty": "empty",
        "badnan": "NaN",
        "badunits": "multiply by 255",
        "badcut": "damaged or incomplete",
        "badzero": "an empty file",
    }.items():
        assert part in said[name]


def large(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "large.tif") -> np.ndarray:
    """A TIFF that counts as too large to be held."""
    monkeypatch.setattr(pictures, "HELD_PIXELS", 1000)
    image = photo(150, 83)
    tifffile.imwrite(folder / name, image, photometric="rgb", compression="zlib", rowsperstrip=16)
    return image


@pytest.mark.parametrize(
    "wish", [{"window": 32}, {"window": 48, "exact": True}, {"window": 0}, {"flip": True}], ids=str
)
def test_by_rows_as_in_memory(wish: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = large(tmp_path, monkeypatch)
    monkeypatch.setattr(stream, "OVERLAY", 50)
    thing = predictor(**wish)
    if wish.get("exact"):
        from atrous.inspect import Halo

        thing.__dict__["halo"] = Halo((8, 8), (8, 8), (8, 8), (1, 1), (1, 1))
    done, failed = predict_files(thing, [tmp_path / "large.tif"], tmp_path / "out")
    assert (done, failed) == (1, [])
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "large.png"), expected(image))
    with Image.open(tmp_path / "out" / "overlays" / "large.jpg") as picture:
        assert picture.size == (28, 50)


def test_a_large_picture_that_breaks_in_the_middle_leaves_nothing_and_the_rest_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = large(tmp_path, monkeypatch, "a.tif")
    large(tmp_path, monkeypatch, "c.tif")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        offset = file.pages[0].dataoffsets[7]
    data[offset : offset + 40] = b"x" * 40
    (tmp_path / "b.tif").write_bytes(bytes(data))
    thing = predictor(window=32)
    done, failed = predict_files(thing, [tmp_path / f"{name}.tif" for name in "abc"], tmp_path / "out")
    assert done == 2
    assert len(failed) == 1
    assert "b.tif" in failed[0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png", "overlays"]
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "c.png"), expected(image))


def test_units_are_judged_over_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dark part of a float picture is no picture in 0..1; one that is dark all over is."""
    monkeypatch.setattr(pictures, "HELD_PIXELS", 1000)
    image = photo(150, 83).astype(np.float32)
    image[:100] = 0.5
    np.save(tmp_path / "a.npy", image)
    np.save(tmp_path / "b.npy", image / 255)
    done, failed = predict_files(predictor(window=32), [tmp_path / "a.npy", tmp_path / "b.npy"], tmp_path / "out")
    assert done == 1
    assert "b.npy" in failed[0]
    assert "multiply by 255" in failed[0]
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "a.png"), expected(image))


def test_large_pictures_know_no_refiner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large(tmp_path, monkeypatch)
    done, failed = predict_files(predictor(refine="crf"), [tmp_path / "large.tif"], tmp_path / "out")
    assert done == 0
    assert "row by row" in failed[0]


def test_reading_and_writing_go_on_beside_the_network_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network waits until the next picture was read: without a thread for it that would never come."""
    paths = [tmp_path / f"{place}.png" for place in range(4)]
    for place, path in enumerate(paths):
        write_image(path, np.full((4, 5, 3), 60 * place, np.uint8))
    read = [threading.Event() for _ in paths]
    written: list[str] = []
    opened = stream.open_picture

    def open_and_tell(path: Path) -> object:
        found = opened(path)
        read[int(path.stem)].set()
        return found

    monkeypatch.setattr(stream, "open_picture", open_and_tell)
    thing = predictor()
    run = thing._logits

    def wait(pixels: np.ndarray) -> object:
        place = int(pixels[0, 0, 0]) // 60
        assert place + 1 == len(paths) or read[place + 1].wait(20)
        return run(pixels)

    monkeypatch.setattr(thing, "_logits", wait)
    whole = stream.write_fitting
    monkeypatch.setattr(stream, "write_fitting", lambda path, rgb, **how: (written.append(path.stem), whole(path, rgb)))
    assert predict_files(thing, paths, tmp_path / "out") == (4, [])
    assert written == ["0", "1", "2", "3"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        write_image(path, photo())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").mkdir()
    done, failed = predict_files(predictor(), paths, tmp_path / "out")
    assert done == 1
    assert "a.png" in failed[0]


def test_flicker_counts_changes_of_labels_where_the_picture_stays() -> None:
    still, moved = np.zeros((2, 4, 3), np.uint8), np.zeros((2, 4, 3), np.uint8)
    moved[:, 2:] = 100
    labels = np.zeros((2, 4), np.uint8)
    other = labels.copy()
    other[0] = 1  # two pixels that moved, two that stayed
    flicker = Flicker()
    flicker.add(still, labels, None)
    flicker.add(moved, other, (still, labels))
    assert (flicker.frames, flicker.changed, flicker.still, flicker.still_changed) == (2, 4, 4, 2)
    assert "50.00% of the labels change" in str(flicker)
    assert "50.00% of those of still pixels" in str(flicker)


def film(path: Path, frames: list[np.ndarray], rate: int) -> None:
    import av

    with av.open(str(path), "w") as file:
        track = file.add_stream("ffv1", rate=rate)
        track.height, track.width, track.pix_fmt = *frames[0].shape[:2], "bgr0"
        for frame in frames:
            file.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(track.encode())


def test_a_video_keeps_its_frame_rate_and_its_values(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    frames = [np.random.default_rng(place).integers(0, 256, (30, 41, 3), np.uint8) for place in range(6)]
    for place, frame in enumerate(frames):
        frame[:10] = 90  # stays, and so does its label
        frame[10:15] = 127 + place % 2  # stays nearly, and its label changes every time
    film(tmp_path / "a.mkv", frames, 12)
    said: list[str] = []
    assert predict_files(predictor(), [tmp_path / "a.mkv"], tmp_path / "out", say=said.append) == (1, [])
    with av.open(str(tmp_path / "out" / "a.mkv")) as file:
        assert file.streams.video[0].average_rate == 12
        seen = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
    assert len(seen) == 6
    for labels, frame in zip(seen, frames, strict=True):
        np.testing.assert_array_equal(labels, expected(frame))
    with av.open(str(tmp_path / "out" / "overlays" / "a.mp4")) as file:
        assert file.streams.video[0].average_rate == 12
        assert len(list(file.decode(video=0))) == 6
    moved = np.array([expected(a) != expected(b) for a, b in pairwise(frames)])
    quiet = np.array([abs(a.astype(int) - b).max(2) <= STILL for a, b in pairwise(frames)])
    assert 0.3 < moved[quiet].mean() < 0.4
    assert said == [
        f"{tmp_path / 'a.mkv'}: 6 frames, {moved.mean():.2%} of the labels change from frame to frame, "
        f"{moved[quiet].mean():.2%} of those of still pixels (flicker)"
    ]
    assert not list((tmp_path / "out").glob(".*"))


def test_smoothing_lessens_flicker(tmp_path: Path) -> None:
    pytest.importorskip("av")
    rng = np.random.default_rng(0)
    base = rng.integers(100, 156, (32, 40, 3))
    frames = [np.clip(base + rng.integers(-8, 9, base.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    film(tmp_path / "a.mkv", frames, 10)
    plain = label_video(predictor(), tmp_path / "a.mkv", tmp_path / "one")
    smooth = label_video(predictor(), tmp_path / "a.mkv", tmp_path / "two", 0.8)
    assert 0 < smooth.changed < 0.7 * plain.changed
    with pytest.raises(ModelError, match=r"must be in \[0, 1\)"):
        label_video(predictor(), tmp_path / "a.mkv", tmp_path / "two", 1.0)
    with pytest.raises(ModelError, match="through the network whole"):
        label_video(predictor(window=16), tmp_path / "a.mkv", tmp_path / "two", 0.5)


def test_what_is_no_video_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "a.mp4").write_bytes(b"nothing that moves" * 100)
    done, failed = predict_files(predictor(), [tmp_path / "a.mp4"], tmp_path / "out")
    assert done == 0
    assert "a.mp4: damaged or no video" in failed[0]
    with pytest.raises(DataError):
        label_video(predictor(), tmp_path / "a.mp4", tmp_path / "out")
