"""A small file of every format that we accept, as far as it can be written here."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image, features

# (ending, Pillow's format, options): every still format that we accept.
PICTURES = (
    ("png", "PNG", {}),
    ("png", "PNG", {"mode": "P"}),
    ("png", "PNG", {"mode": "I;16"}),
    ("png", "PNG", {"mode": "RGBA"}),
    ("jpg", "JPEG", {}),
    ("jpg", "JPEG", {"progressive": True, "exif": True}),
    ("jpg", "JPEG", {"mode": "CMYK"}),
    ("jpg", "MPO", {"frames": 2}),
    ("gif", "GIF", {}),
    ("webp", "WEBP", {}),
    ("webp", "WEBP", {"lossless": True}),
    ("bmp", "BMP", {}),
    ("bmp", "DIB", {}),
    ("tiff", "TIFF", {}),
    ("tiff", "TIFF", {"compression": "tiff_lzw"}),
    ("tiff", "TIFF", {"compression": "tiff_deflate"}),
    ("tiff", "TIFF", {"compression": "jpeg"}),
    ("png", "PPM", {}),
    ("avif", "AVIF", {}),
    ("jp2", "JPEG2000", {}),
    ("ico", "ICO", {}),
)
ANIMATIONS = (("gif", "GIF"), ("png", "PNG"), ("webp", "WEBP"), ("avif", "AVIF"))
# Ending, container, codec: those that this build of ffmpeg can also write.
CLIPS = [
    "mp4",
    "mp4",
    "libx264",
    "mp4",
    "mp4",
    "mpeg4",
    "mp4",
    "mp4",
    "libx265",
    "mp4",
    "mp4",
    "libsvtav1",
    "mov",
    "mov",
    "libx264",
    "mkv",
    "matroska",
    "libx264",
    "webm",
    "webm",
    "libvpx",
    "webm",
    "webm",
    "libvpx-vp9",
    "avi",
    "avi",
    "mpeg4",
    "avi",
    "avi",
    "mjpeg",
    "flv",
    "flv",
    "flv",
    "ts",
    "mpegts",
    "mpeg2video",
    "mpg",
    "mpeg",
    "mpeg1video",
    "ogv",
    "ogg",
    "libtheora",
    "wmv",
    "asf",
    "wmv2",
    "mp4",
    "h264",
    "libx264",
    "mp4",
    "hevc",
    "libx265",
    "mp4",
    "ivf",
    "libvpx",
    "mp4",
    "mxf",
    "mpeg2video",
    "mp4",
    "mpegvideo",
    "mpeg1video",
    "mp4",
    "3gp",
    "mpeg4",
    "mp4",
    "obu",
    "libsvtav1",
    "m4v",
    "m4v",
    "mpeg4",
]


def picture(rng: np.random.Generator, mode: str = "RGB") -> Image.Image:
    """Smooth with some noise, so that every coder has something to do."""
    base = np.linspace(0, 200, 64)[None, :, None] + rng.integers(0, 55, (48, 64, 3))
    image = Image.fromarray(base.astype(np.uint8))
    return image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)


def seeds_of_pictures() -> dict[str, bytes]:
    """Name → file, one for each format and variant that this build of Pillow writes."""
    rng, found = np.random.default_rng(0), {}
    for number, (ending, kind, options) in enumerate(PICTURES):
        options = dict(options)
        image, frames = picture(rng, options.pop("mode", "RGB")), options.pop("frames", 0)
        if options.pop("exif", False):
            options["exif"] = Image.Exif()
            options["exif"][0x0112] = 6
        if frames:
            options |= {"save_all": True, "append_images": [picture(rng) for _ in range(frames - 1)]}
        if kind not in ("AVIF", "JPEG2000") or features.check("avif" if kind == "AVIF" else "jpg_2000"):
            found[f"{number}-{kind.lower()}.{ending}"] = saved(image, kind, options)
    return found


def saved(image: Image.Image, kind: str, options: dict) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def seeds_of_clips() -> dict[str, bytes]:
    """Name → file: animations, and clips in each container with each codec that can be written here."""
    rng, found = np.random.default_rng(1), {}
    for ending, kind in ANIMATIONS:
        if kind != "AVIF" or features.check("avif"):
            more = {"save_all": True, "append_images": [picture(rng) for _ in range(3)], "duration": 100}
            found[f"animated-{kind.lower()}.{ending}"] = saved(picture(rng), kind, more)
    for ending, container, codec in zip(*[iter(CLIPS)] * 3, strict=True):
        try:
            found[f"{container}-{codec}.{ending}"] = clip(container, codec, rng)
        except (av.FFmpegError, ValueError):
            print(f"cannot be written here: {container} with {codec}", file=sys.stderr)
    return found


def clip(container: str, codec: str, rng: np.random.Generator) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=container) as out:
            stream = out.add_stream(codec, rate=25)
            stream.width, stream.height = (176, 144) if container in ("3gp", "mxf") else (64, 48)
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for _ in range(12):
                frame = np.asarray(picture(rng).resize((stream.width, stream.height)))
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            out.mux(stream.encode(None))
        return Path(file.name).read_bytes()
