"""File → Frames: one door for pictures, animations and videos.

What a file is follows from its content, never from its name. Animated GIF, PNG and WebP count as videos
of their frames, each shown as long as the file says.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from vlm.config import PixelConfig
from vlm.inputs.clips import Clip, Progress, read_clip, sample_clip
from vlm.inputs.containers import has_picture, open_container, open_video
from vlm.inputs.images import is_animation, open_animation, open_picture, read_picture, upright_size
from vlm.inputs.patches import fit_frames, plan_patches
from vlm.inputs.sampling import MediaOptions
from vlm.records import Frames, InputError, MediaError, MediaKind, Patches

__all__ = ["MediaOptions", "Medium", "open_media", "read_media", "sniff"]

_OTHER_FILES = {b"%PDF": "a PDF document", b"PK\x03\x04": "a zip archive or an office document"}
_DAMAGED = re.compile(  # files that begin as media and yet cannot be opened
    rb"....(ftyp|moov|mdat)|\x1aE\xdf\xa3|RIFF|FLV|\x89PNG|\xff\xd8\xff|GIF8|BM|II\*\0|MM\0\*", re.DOTALL
)
_DAMAGE = (  # what decoders raise
    OSError, ValueError, ArithmeticError, LookupError, RuntimeError, EOFError, SyntaxError, struct.error,
    zlib.error,
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


@dataclass(frozen=True)
class Medium:
    """An opened file: everything but its pixels. ``clip`` is None for a picture."""

    path: Path
    width: int
    height: int
    clip: Clip | None = None

    @property
    def kind(self) -> MediaKind:
        return "video" if self.clip else "image"

    def plan(self, pixels: PixelConfig, options: MediaOptions = MediaOptions()) -> Patches:
        """What the model would get, from the header alone: a `Patches` without pixels.

        Token counts are exact unless frames of a damaged clip turn out to be unreadable.

        Raises:
            MediaError: too long and thin, or nothing left of the clip.
        """
        limited, shape = options.limit(pixels), (self.path.name, self.width, self.height)
        if self.clip is None:
            return plan_patches("image", *shape, limited)
        _, times, fps = sample_clip(self.clip, limited, options)
        return plan_patches("video", *shape, limited, frames=len(times), times=times, sampled_fps=fps)

    def read(
        self,
        pixels: PixelConfig,
        options: MediaOptions = MediaOptions(),
        progress: Progress | None = None,
    ) -> Frames:
        """Decode a picture, or sample the clip; see `read_media`."""
        if self.clip is None:
            return self._picture(pixels, options, fit=False)
        with _in_words(self.path):
            return read_clip(self.clip, options.limit(pixels), options, progress)

    def _picture(self, pixels: PixelConfig, options: MediaOptions, fit: bool) -> Frames:
        with _in_words(self.path):
            picture = open_picture(self.path)
            if picture is None:
                raise MediaError(self.path.name, "it changed while it was read: choose it again")
            return read_picture(picture, self.path.name, options.limit(pixels), options.approximate, fit)

    def patches(
        self,
        pixels: PixelConfig,
        options: MediaOptions = MediaOptions(),
        progress: Progress | None = None,
    ) -> Patches:
        """Decode and resize; ``pixels`` are cut by `with_pixels` when the tower needs them."""
        if self.clip is None:
            frames = self._picture(pixels, options, fit=True)
        else:
            frames = self.read(pixels, options, progress)
        return fit_frames(frames, options.limit(pixels))


def open_media(path: str | os.PathLike) -> Medium:
    """Look at a file without decoding it: its kind, size and, for a clip, the time of every frame.

    Raises:
        MediaError: the file cannot be used; the reason says what to do.
    """
    path = local_file(path)
    with _in_words(path):
        kind, picture = _look(path)
        if kind == "picture":
            with picture:
                return Medium(path, *upright_size(picture))
        if kind == "animation":
            with picture:
                clip = open_animation(picture, path)
        else:
            clip = open_video(path)
        return Medium(path, clip.width, clip.height, clip)


def read_media(
    path: str | os.PathLike,
    pixels: PixelConfig,
    options: MediaOptions = MediaOptions(),
    progress: Progress | None = None,
) -> Frames:
    """Decode a picture, or sample a clip.

    Args:
        path: a local file.
        pixels: the family's sizes, limits and sampling.
        options: a person's wishes.
        progress: called as ``progress(done, total)`` after each decoded frame; it may raise to stop.

    Returns:
        A picture at full size, or a clip's frames at the size the model sees them.

    Raises:
        MediaError: the file cannot be used; the reason says what to do.
    """
    return open_media(path).read(pixels, options, progress)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Errors about a file as `MediaError`, also those of decoders that did not foresee a damage."""
    try:
        yield
    except InputError:
        raise
    except PermissionError as error:
        raise MediaError(path.name, "it may not be opened: check the file's permissions") from error
    except _DAMAGE as error:
        raise MediaError(path.name, "it is damaged or cut off: copy or download it again") from error


def sniff(path: str | os.PathLike) -> MediaKind:
    """What a file's content is, without decoding it.

    Raises:
        MediaError: neither a picture nor a video.
    """
    kind, picture = _look(local_file(path))
    if picture:
        picture.close()
    return "image" if kind == "picture" else "video"


def local_file(path: str | os.PathLike) -> Path:
    """The path of an ordinary file that holds something. Raises MediaError where it is none."""
    text = os.fspath(path)
    if re.match(r"data:|[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
        raise MediaError(text.split(":")[0] + " link", "links are not opened: download the file first")
    path = Path(text)
    if path.is_dir():
        raise MediaError(path.name, "it is a folder: choose a file in it")
    if not path.exists():
        raise MediaError(path.name, "there is no such file: check the name")
    if not path.is_file():  # a pipe would wait forever
        raise MediaError(path.name, "it is not an ordinary file")
    if path.stat().st_size == 0:
        raise MediaError(path.name, "the file is empty: copy or download it again")
    return path


def _look(path: Path) -> tuple[Literal["picture", "animation", "video"], Image.Image | None]:
    """What it is, and the opened picture where it is one."""
    if picture := open_picture(path):
        return ("animation" if is_animation(picture) else "picture"), picture
    with path.open("rb") as file:
        head = file.read(4096)
    if reason := _no_media(head):
        raise MediaError(path.name, reason)
    _check_video(path, head)
    return "video", None


def _no_media(head: bytes) -> str | None:
    """Why a file that is no picture cannot be a video either. (ffmpeg would read text as a playlist.)"""
    for magic, kind in _OTHER_FILES.items():
        if head.startswith(magic):
            return f"not a picture or a video: it is {kind}; export the page or picture that you need"
    if b"<svg" in head:
        return "is a drawing (SVG): save it as PNG"
    try:
        text = head[: len(head) - 3 if len(head) == 4096 else None].decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return None
        text = head[: error.start].decode()
    return None if _CONTROL.search(text) else "not a picture or a video: its content looks like text"


def _check_video(path: Path, head: bytes) -> None:
    import av

    try:
        with open_container(path) as container:
            if has_picture(container):
                return
            if container.streams.audio:
                raise MediaError(path.name, "it has sound but no picture: choose a video")
            raise MediaError(path.name, "the video has no frames: it lasts 0 seconds")
    except PermissionError:
        raise
    except av.FFmpegError as error:
        if _DAMAGED.match(head):
            raise MediaError(path.name, "it is damaged or cut off: copy or download it again") from error
        raise MediaError(
            path.name, "not a picture or a video that can be read: save it as PNG, JPEG or MP4"
        ) from error
