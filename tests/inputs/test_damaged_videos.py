"""Videos that are truncated, damaged or absurd: use what can be read and say what was lost."""

from __future__ import annotations

import dataclasses

import av
import numpy as np
import pytest
from media_files import PIXELS, picture

from vlm.inputs import clips
from vlm.inputs.media import MediaOptions, read_media
from vlm.inputs.patches import target_size
from vlm.records import MediaError

ALL = MediaOptions(num_frames=1000)
PER_CLIP = dataclasses.replace(PIXELS, video_pixels_per_frame=False, video_max_pixels=4 * 64 * 48)


def _noisy(path, frames=60, **options):
    """Large packets, so that damage hits pictures and not headers."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=10, bit_rate=4_000_000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 1
        for _ in range(frames):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (48, 64, 3), np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_truncated_video_says_how_much_there_was(tmp_path, capfd):
    path = _noisy(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames = read_media(path, PIXELS)
    assert len(frames.pixels) >= 4 and frames.timestamps[-1] < 4
    assert "the file ends early: 3." in frames.notes[0] and "of 6.0 seconds" in frames.notes[0]
    assert capfd.readouterr() == ("", "")


def test_damaged_frames_are_left_out_and_counted(tmp_path):
    path = _noisy(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[20:30]:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    frames = read_media(path, PIXELS, ALL)
    assert len(frames.pixels) == len(frames.timestamps) == 50
    assert frames.notes == ("10 of 60 frames could not be read",)
    assert frames.timestamps[19:21] == pytest.approx((1.9, 3.0))


def test_lost_frames_do_not_leave_the_wrong_size(monkeypatch):
    def read(wanted):
        return ((i, picture(i)) for i in wanted if i != 5)

    clip = clips.Clip("a", np.arange(20) / 10, 2.0, 10.0, 64, 48, read)
    frames = clips.read_clip(clip, PER_CLIP, MediaOptions(num_frames=20), None)
    assert len(frames.pixels) == 19 and frames.notes == ("1 of 20 frames could not be read",)
    assert frames.pixels.shape[1:3] == target_size("video", 19, 48, 64, PER_CLIP)


def test_nothing_decodable(tmp_path):
    path = _noisy(tmp_path / "a.mp4", frames=3)
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + b"\x55" * (len(data) - start))
    with pytest.raises(MediaError, match=r"mpeg4.*H\.264"):
        read_media(path, PIXELS)


def test_absurd_frames_and_shapes_are_refused():
    def clip(width, height):
        return clips.Clip("a", np.arange(4.0), 4.0, 1.0, width, height, lambda wanted: iter(()))

    with pytest.raises(MediaError, match="too large"):
        clips.read_clip(clip(20_000, 20_000), PIXELS, MediaOptions(), None)
    with pytest.raises(MediaError, match="300 times"):
        clips.read_clip(clip(3000, 10), PIXELS, MediaOptions(), None)
    with pytest.raises(MediaError, match="could be decoded"):
        clips.read_clip(clip(64, 64), PIXELS, MediaOptions(), None)
