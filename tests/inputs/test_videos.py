"""Videos: frames, true times, rotation, damage and memory."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest
from media_files import PIXELS, index_of, picture, repeat_video, write_video

from vlm.inputs import containers
from vlm.inputs.media import MediaOptions, read_media
from vlm.inputs.sandbox import Sandbox
from vlm.records import MediaError

ALL = MediaOptions(num_frames=1000)


def _read(path, **options):
    return read_media(path, PIXELS, MediaOptions(**options))


def _indices(frames):
    return [index_of(frame) for frame in frames.pixels]


def test_frames_times_and_facts(tmp_path):
    frames = read_media(write_video(tmp_path / "a.mp4"), PIXELS)
    assert _indices(frames) == [0, 6, 13, 19]
    assert frames.timestamps == pytest.approx((0, 0.6, 1.3, 1.9))
    assert (frames.kind, frames.name, frames.width, frames.height) == ("video", "a.mp4", 64, 48)
    assert frames.source_fps == pytest.approx(10) and frames.duration == pytest.approx(2)
    assert frames.notes == () and len(frames.digest) == 32


def test_frames_have_the_size_the_model_sees(tmp_path):
    path = write_video(tmp_path / "a.mp4", size=(256, 128))
    assert read_media(path, PIXELS).pixels.shape == (4, 40, 88, 3)
    assert (read_media(path, PIXELS).width, read_media(path, PIXELS).height) == (256, 128)


CASES = {
    "plain.mp4": {},
    "baseline.mp4": {"options": {"preset": "ultrafast", "bf": "0"}},
    "open.mp4": {"options": {"x264-params": "open-gop=1:bframes=3:scenecut=0"}},
    "hidden.mp4": {"first": -5},
    "late.mp4": {"first": 30},
    "slow.mkv": {"options": {}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "a.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}},
    "a.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "a.ts": {"options": {}},
    "a.mpg": {"codec": "mpeg2video", "fps": 25, "options": {"bf": "2"}},
    "a.flv": {"codec": "flv1", "options": {}},
    "a.h264": {"fps": 25, "options": {"preset": "ultrafast", "bf": "0"}},
    "turned.mp4": {"rotation": 90},
    "counter.mp4": {"rotation": -90},
    "head.mp4": {"rotation": 180},
}


def _write(tmp_path, name, **extra):
    try:
        return write_video(tmp_path / name, **{"frames": 45, **CASES[name], **extra})
    except (av.codec.codec.UnknownCodecError, av.FFmpegError) as error:
        pytest.skip(f"this PyAV cannot write it: {error}")


@pytest.mark.parametrize("name", CASES)
def test_the_right_frames_of_every_container(tmp_path, name):
    first = 5 if name == "hidden.mp4" else 0
    frames = read_media(_write(tmp_path, name), PIXELS, MediaOptions(num_frames=9))
    expected = np.linspace(0, 44 - first, 9).round() + first
    assert _indices(frames) == expected.tolist()
    fps = CASES[name].get("fps", 10)
    assert frames.timestamps == pytest.approx((expected - first) / fps, abs=2e-3)


@pytest.mark.parametrize(
    ("rotation", "corner"), [(90, "lower left"), (-90, "upper right"), (180, "lower right")]
)
def test_rotation(tmp_path, rotation, corner):
    frames = read_media(
        write_video(tmp_path / "a.mp4", rotation=rotation), PIXELS, MediaOptions(num_frames=1)
    )
    assert (frames.width, frames.height) == ((64, 48) if rotation == 180 else (48, 64))
    rows = slice(-4, None) if "lower" in corner else slice(4)
    columns = slice(-4, None) if "right" in corner else slice(4)
    assert frames.pixels[0, rows, columns].mean() > 240 and frames.pixels[0].mean() < 60


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_variable_frame_rate_keeps_true_times(tmp_path, container):
    times = [0, 0.1, 0.5, 0.6, 2.0, 5.0]
    path = write_video(tmp_path / f"a.{container}", frames=6, times=times)
    frames = read_media(path, PIXELS, ALL)
    assert frames.timestamps == pytest.approx(times, abs=2e-3)
    assert _read(path, start=0.4, end=3).timestamps == pytest.approx([0.5, 0.6, 2.0], abs=2e-3)


def test_times_count_from_the_first_frame(tmp_path):
    assert _read(write_video(tmp_path / "a.ts", options={}), num_frames=2).timestamps == pytest.approx(
        (0, 1.9)
    )


def test_a_range_keeps_the_clips_own_time(tmp_path):
    frames = _read(write_video(tmp_path / "a.mp4"), start=1, end=1.3)
    assert _indices(frames) == [10, 11, 12, 13]
    assert frames.timestamps == pytest.approx((1, 1.1, 1.2, 1.3))


def test_a_range_behind_the_end(tmp_path):
    with pytest.raises(MediaError, match=r"2\.0 s long"):
        _read(write_video(tmp_path / "a.mp4"), start=60)


def test_one_frame(tmp_path):
    frames = read_media(write_video(tmp_path / "a.mp4", frames=1), PIXELS)
    assert len(frames.pixels) == 1 and frames.timestamps == (0.0,)


def test_av1(tmp_path, capfd):
    try:
        path = write_video(tmp_path / "a.mp4", codec="libsvtav1", size=(128, 96), options={})
    except (av.codec.codec.UnknownCodecError, av.FFmpegError):
        pytest.skip("this PyAV cannot write AV1")
    capfd.readouterr()
    assert _indices(read_media(path, PIXELS)) == [0, 6, 13, 19]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["a.mp4", "open.mp4", "hevc.mp4", "a.ts", "a.avi", "a.mkv", "a.mpg", "a.flv"]
)
def test_seeking_finds_the_same_frames(tmp_path, name, monkeypatch):
    case = CASES.get(name, {})
    path = _write(tmp_path, name) if case else write_video(tmp_path / name, frames=45)
    slow = read_media(path, PIXELS, MediaOptions(num_frames=5))
    monkeypatch.setattr(containers, "SEEK_COST", 0)
    np.testing.assert_array_equal(read_media(path, PIXELS, MediaOptions(num_frames=5)).pixels, slow.pixels)


def test_the_largest_stream_is_read(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [
            container.add_stream("libx264", rate=10, options={"preset": "ultrafast"}) for _ in range(2)
        ]
        for stream, size in zip(streams, (32, 64), strict=True):
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
        for stream in streams:
            for index in range(5):
                pixels = picture(index, stream.height, stream.width)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
            container.mux(stream.encode(None))
    assert read_media(path, PIXELS).width == 64


def test_progress_and_stopping(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    seen = []
    read_media(path, PIXELS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]

    class Stop(Exception):
        pass

    def stop(done, total):
        raise Stop

    with pytest.raises(Stop):
        read_media(path, PIXELS, progress=stop)


def test_the_digest_sees_times(tmp_path):
    one = _read(write_video(tmp_path / "a.mp4", fps=10), num_frames=4)
    two = _read(write_video(tmp_path / "b.mp4", fps=5), num_frames=4)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert one.digest != two.digest
    assert one.digest == _read(write_video(tmp_path / "c.mp4", fps=10), num_frames=4).digest


def test_a_two_hour_clip_stays_small(tmp_path):
    """64 frames of 1080p and two hours; the whole process, torch included, under 1.5 GB."""
    pytest.importorskip("resource")
    seed = write_video(tmp_path / "s.mp4", frames=10, size=(1920, 1080))
    path = repeat_video(seed, tmp_path / "long.mp4", seconds=7200)
    script = (
        "import resource; from media_files import PIXELS; from vlm.inputs.media import *;"
        f"frames = read_media({str(path)!r}, PIXELS, MediaOptions(num_frames=64));"
        "print(len(frames.pixels), frames.timestamps[-1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    here = Path(__file__).parent
    environment = {"PYTHONPATH": f"{here}:{here.parents[1]}", "OMP_NUM_THREADS": "1", "PATH": ""}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    count, last, kilobytes = done.stdout.split()
    assert done.stderr == ""
    path.unlink()  # pytest keeps the folders of three runs
    assert int(count) == 64 and float(last) == pytest.approx(7199.9)
    assert int(kilobytes) / (1024 if sys.platform == "darwin" else 1) < 1_500_000


def test_approximate_takes_the_nearest_key_frames(tmp_path):
    """Key frames every 10 of 45: what would be frames 0, 11, 22, 33, 44 comes from 0, 10, 20, 30, 40."""
    path = write_video(tmp_path / "a.mp4", frames=45, options={"g": "10", "bf": "0", "sc_threshold": "0"})
    frames = _read(path, num_frames=5, approximate=True)
    assert _indices(frames) == [0, 10, 20, 30, 40]
    assert frames.timestamps == pytest.approx((0, 1, 2, 3, 4))
    few = _read(path, num_frames=20, approximate=True)
    assert _indices(few) == [0, 10, 20, 30, 40]  # each once
    with closing(Sandbox()) as sandbox:
        apart = sandbox.open(path).patches(PIXELS, MediaOptions(num_frames=5, approximate=True))
    np.testing.assert_array_equal(apart.resized, frames.pixels)
