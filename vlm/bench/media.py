"""Files to patches: one large photo, and a few frames of a long clip."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from vlm.bench.rows import Row, alternate, faster
from vlm.families.checkpoint import open_config
from vlm.inputs.media import MediaOptions, open_media
from vlm.inputs.patches import with_pixels

FRAMES = 32
PHOTO = (4000, 3000)
PIXELS = 1_003_520  # the usual limit for a picture in Qwen's examples: 1,280 tokens of 28 × 28 pixels


def image_preprocess(folder: Path, runs: int) -> list[Row]:
    """A 12-megapixel JPEG to patches, against transformers' Pillow processor."""
    from transformers import Qwen2VLImageProcessorPil

    file = folder / "photo.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (PHOTO[1] // 8, PHOTO[0] // 8, 3), np.uint8)
    Image.fromarray(noise).resize(PHOTO).filter(ImageFilter.GaussianBlur(3)).save(file, quality=92)
    pixels = open_config("qwen2.5-vl-3b")[0].pixels
    processor = Qwen2VLImageProcessorPil(min_pixels=pixels.image_min_pixels, max_pixels=PIXELS)
    options = MediaOptions(max_pixels=PIXELS)

    def reference() -> None:
        with Image.open(file) as picture:
            processor(picture, return_tensors="pt")

    quick = replace(options, approximate=True)
    ours, draft, theirs = alternate(
        runs,
        lambda: with_pixels(open_media(file).patches(pixels, options), pixels),
        lambda: with_pixels(open_media(file).patches(pixels, quick), pixels),
        reference,
    )
    what = "12-megapixel JPEG to patches"
    return [
        faster("image_preprocess", ours, theirs, note=f"{what}; exact"),
        faster("image_preprocess_approximate", draft, theirs, note=f"{what}; decoded at reduced size"),
    ]


def video_frames(folder: Path, name: str, seconds: int, size: tuple[int, int], runs: int) -> list[Row]:
    """`FRAMES` frames of a clip, against PyAV from the start to the end and against decord.

    By wall time, because decoders choose their threads themselves.
    """
    file = folder / f"{name}.mp4"
    _write_clip(file, seconds, size)
    pixels = open_config("qwen2.5-vl-3b")[0].pixels
    options = MediaOptions(num_frames=FRAMES, max_pixels=100_352)
    indices = set(np.linspace(0, seconds * 24 - 1, FRAMES).round().astype(int).tolist())
    quick = replace(options, approximate=True)
    sides = [
        lambda: open_media(file).read(pixels, options),
        lambda: open_media(file).read(pixels, quick),
        lambda: _sequential(file, indices),
    ]
    if importlib.util.find_spec("decord"):
        sides.append(lambda: _decord(file, sorted(indices)))
    ours, nearest, sequential, *decord = alternate(runs, *sides, clock=time.perf_counter)
    what = f"{FRAMES} frames of {seconds} s, {size[0]} × {size[1]}, H.264; wall time; ours also resizes"
    rows = [faster(f"video_frames_{name}", ours, sequential, note=f"{what}; reference: PyAV, decoding all")]
    near = f"{what}; nearest key frames; reference: PyAV, decoding all"
    rows.append(faster(f"video_frames_{name}_approximate", nearest, sequential, note=near))
    for theirs in decord:
        rows.append(faster(f"video_frames_{name}_decord", ours, theirs, note=f"{what}; reference: decord"))
    return rows


def _write_clip(file: Path, seconds: int, size: tuple[int, int]) -> None:
    """FFmpeg's moving test picture, 24 frames a second, a key frame every ten seconds as encoders do it."""
    import av

    source = av.open(f"testsrc2=size={size[0]}x{size[1]}:rate=24:duration={seconds}", format="lavfi")
    with source, av.open(str(file), "w") as out:
        stream = out.add_stream("libx264", 24, {"preset": "ultrafast", "bf": "0", "g": "240"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for frame in source.decode(video=0):
            frame.pts, frame.pict_type = None, 0  # the source calls each a key frame, and x264 would obey
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _sequential(file: Path, indices: set[int]) -> list[np.ndarray]:
    import av

    with av.open(str(file)) as container:
        return [
            frame.to_ndarray(format="rgb24")
            for index, frame in enumerate(container.decode(video=0))
            if index in indices
        ]


def _decord(file: Path, indices: list[int]) -> np.ndarray:
    import decord

    return decord.VideoReader(str(file)).get_batch(indices).asnumpy()
