"""Small videos written on the fly."""

from __future__ import annotations

from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import numpy as np

from vlm.config import PixelConfig

PIXELS = PixelConfig(
    patch_size=4,
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.5, 0.5, 0.5),
    image_min_pixels=64,
    image_max_pixels=64 * 64,
    video_min_pixels=64,
    video_max_pixels=64 * 64,
    video_pixels_per_frame=True,
)
FAST = {"preset": "ultrafast"}


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame whose brightness tells its index (up to 50), with a white top left corner."""
    frame = np.full((height, width, 3), 5 * index, np.uint8)
    frame[: height // 4, : width // 4] = 255
    return frame


def index_of(frame: np.ndarray) -> int:
    height, width = frame.shape[:2]
    return round(float(frame[height // 3 : -height // 3, width // 3 : -width // 3].mean()) / 5)


def write_video(
    path: Path,
    frames: int = 20,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    fps: int = 10,
    gop: int = 10,
    rotation: int = 0,
    times: list[float] | None = None,
    options: dict | None = None,
    first: int = 0,
    faststart: bool = False,
) -> Path:
    """``first``: index of the first frame's time; below 0 an MP4 hides frames with an edit list."""
    flags = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=flags) as container:
        stream = container.add_stream(codec, rate=fps, options=FAST if options is None else options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        if codec != "libx264":
            stream.codec_context.bit_rate = 2_000_000  # else frames blur into their neighbours
        if rotation:
            stream.set_display_rotation(rotation)
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, time in zip(range(frames), times or count(first / fps, 1 / fps), strict=False):
            frame = av.VideoFrame.from_ndarray(picture(index % 50, *size[::-1]), "rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def repeat_video(seed: Path, path: Path, seconds: int) -> Path:
    """Copy the packets of ``seed`` again and again: hours of video without encoding them."""
    with av.open(str(seed)) as source, av.open(str(path), "w") as container:
        origin = source.streams.video[0]
        stream = container.add_stream_from_template(origin)
        packets = [packet for packet in source.demux(origin) if packet.size]
        tick = packets[0].duration
        for index in range(int(seconds / tick / origin.time_base)):
            old = packets[index % len(packets)]
            packet = av.Packet(bytes(old))
            packet.stream, packet.time_base, packet.is_keyframe = stream, origin.time_base, old.is_keyframe
            packet.pts = packet.dts = index * tick
            packet.duration = tick
            container.mux(packet)
    return path
