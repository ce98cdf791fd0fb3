"""Videos: every frame upright and at its own time, in label and overlay videos."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from brightness import predictor

from atrous.errors import DataError
from atrous.io.marks import is_marked
from atrous.predict.video import _upright, label_video

av = pytest.importorskip("av", reason="needs the [video] extra")


def film(path: Path, times: list[int], frames: list[np.ndarray], sound: bool = False) -> Path:
    """Write (H, W, 3) frames that are shown at these thousandths of a second."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "1", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        voice = file.add_stream("aac", rate=44100) if sound else None
        for time, pixels in zip(times, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if voice:
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.float32), format="fltp", layout="mono")
            noise.sample_rate = 44100
            file.mux([*voice.encode(noise), *voice.encode()])
    return path


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix into an MP4."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version 0: the matrix lies 40 bytes into the box
    for number, value in enumerate((a, b, 0, c, d, 0, 0, 0)):
        data[place + 4 * number : place + 4 * number + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)


def seen(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """The times in seconds and the pictures (H, W) of a written video, which has no other stream."""
    with av.open(str(path)) as file:
        assert len(file.streams) == 1
        frames = list(file.decode(video=0))
        assert file.duration > 1e6 * (frames[-1].time - frames[0].time), "players would stop before the last frame"
        return [frame.time for frame in frames], [frame.to_ndarray(format="gray") for frame in frames]


def scene(seed: int) -> np.ndarray:
    """(32, 48, 3), bright and dark in blocks; in no symmetry."""
    coarse = np.random.default_rng(seed).choice([30, 220], (4, 6))
    return np.kron(coarse, np.ones((8, 8), int))[..., None].repeat(3, 2).astype(np.uint8)


TURNS = {
    (1, 0, 0, 1): lambda one: one,
    (0, -1, 1, 0): np.rot90,
    (-1, 0, 0, -1): lambda one: np.rot90(one, 2),
    (0, 1, -1, 0): lambda one: np.rot90(one, 3),
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda one: one.swapaxes(0, 1),
    (0, -1, -1, 0): lambda one: np.rot90(one, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", TURNS, ids=str)
def test_turned_and_mirrored_clips_are_labelled_upright(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    frames = [scene(seed) for seed in range(3)]
    set_matrix(film(tmp_path / "a.mp4", [0, 40, 80], frames), *matrix)
    label_video(predictor(), tmp_path / "a.mp4", tmp_path / "out")
    upright = [TURNS[matrix](frame) for frame in frames]
    _, labels = seen(tmp_path / "out" / "a.mkv")
    _, overlays = seen(tmp_path / "out" / "overlays" / "a.mp4")
    for found, shown, frame in zip(labels, overlays, upright, strict=True):
        np.testing.assert_array_equal(found, frame[..., 0] > 127)
        assert shown.shape == frame.shape[:2]
    bare = np.array([matrix[0], matrix[1], 0, matrix[2], matrix[3], 0, 0, 0, 1], np.int32)
    np.testing.assert_array_equal(_upright(frames[0], bare.tobytes()), upright[0])


CHANGING = [*range(0, 200, 40), 600, 1000, 1010, 2400]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("start", [0, 2000])
def test_each_frame_is_shown_at_its_own_time(tmp_path: Path, suffix: str, start: int) -> None:
    times = [start + time for time in CHANGING]
    film(tmp_path / f"a.{suffix}", times, [scene(seed) for seed in range(len(times))], sound=suffix == "mp4")
    label_video(predictor(), tmp_path / f"a.{suffix}", tmp_path / "out")
    for written in ("a.mkv", "overlays/a.mp4"):
        found, _ = seen(tmp_path / "out" / written)
        assert is_marked(tmp_path / "out" / written)
        assert not is_marked(tmp_path / f"a.{suffix}")
        np.testing.assert_allclose(found, np.array(times) / 1000, atol=0.002)


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile other.mp4\n", PLAYLIST])
def test_a_list_that_names_other_files_is_no_video(tmp_path: Path, text: str) -> None:
    film(tmp_path / "other.mp4", [0, 40], [scene(0), scene(1)])
    for name in ("a.mp4", "a.mkv"):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=rf"{name}: damaged or no video"):
            label_video(predictor(), tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("suffix", ["mp4", "m4v", "mov", "mkv", "webm", "avi"])
def test_every_container_is_read_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    film(tmp_path / "a.mkv", [0, 40, 80], [scene(seed) for seed in range(3)]).rename(tmp_path / f"a.{suffix}")
    assert label_video(predictor(), tmp_path / f"a.{suffix}", tmp_path / "out").frames == 3


def test_a_clip_that_changes_its_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "a.mp4", [0, 40], [scene(0), scene(1)])
    sizes = iter([scene(0), scene(0)[:16]])
    monkeypatch.setattr("atrous.predict.video._upright", lambda *_: next(sizes))
    with pytest.raises(DataError, match=r"a\.mp4: the frame at 0\.04 s has 16x48 pixels, the first one 32x48"):
        label_video(predictor(), tmp_path / "a.mp4", tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
