"""Pictures and animations through Pillow, in every mode it knows, as upright RGB."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vlm.config import PixelConfig
from vlm.inputs.clips import Clip, digest
from vlm.inputs.patches import target_size
from vlm.records import Frames, MediaError

MAX_PIXELS = 178_956_970  # Pillow's own refusal; checked on the header, before anything is decoded
EXACT_PIXELS = 50_000_000  # above this a picture is halved on the way in, where the model would anyway

# Named, for Pillow knows more than pictures: EPS starts Ghostscript, MPEG is a video's first bytes.
FORMATS = (
    "PNG",
    "JPEG",
    "MPO",
    "GIF",
    "WEBP",
    "BMP",
    "DIB",
    "TIFF",
    "PPM",
    "AVIF",
    "JPEG2000",
    "ICO",
    "HEIF",
)
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # elsewhere further pictures are pages or a phone's depth map
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
BROWSER_SECONDS = 0.1  # what browsers give a frame that says 0

# Between its warning at 89 and its refusal at 179 megapixels, a large photo is nothing to warn about.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def open_picture(path: Path) -> Image.Image | None:
    """The picture with its header read, not decoded; None where the file is no picture.

    Raises:
        MediaError: more than `MAX_PIXELS`, or HEIC without the optional package pillow-heif.
    """
    heic = _is_heic(path)
    if heic:
        _register_heic()
    Image.init()
    try:
        picture = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise _too_large(path.name) from error
    except (OSError, ValueError, SyntaxError) as error:
        if heic:
            raise MediaError(
                path.name, "HEIC photos need the package pillow-heif: install it, or save the photo as JPEG"
            ) from error
        return None
    if math.prod(picture.size) > MAX_PIXELS:
        raise _too_large(path.name)
    return picture


def is_animation(picture: Image.Image) -> bool:
    """More than one frame, in a format whose frames follow each other in time."""
    return picture.format in ANIMATED and getattr(picture, "is_animated", False)


def read_picture(
    picture: Image.Image, name: str, pixels: PixelConfig, approximate: bool = False, fit: bool = False
) -> Frames:
    """Decode one picture: EXIF orientation applied, transparency on white, 16 bits scaled to 8.

    A picture above `EXACT_PIXELS` is halved, perhaps more than once, while both edges stay at least as
    long as the model's: 100 megapixels would take a gigabyte. That differs by a few levels from one exact
    resize, and ``notes`` says so; ``width`` and ``height`` stay the original's.

    Args:
        approximate: the same with every JPEG.
        fit: resize to what the model sees before the pixels are copied out of Pillow; the digest is then of
            the small picture.

    Raises:
        MediaError: damaged, or more than 200 times as long as wide.
    """
    try:
        size = target_size("image", 1, picture.height, picture.width, pixels)
        whole = 0 if approximate and picture.format == "JPEG" else EXACT_PIXELS
        factor = _reduction(picture.size, size[::-1], whole)
        original = picture.size
        if factor > 1:
            picture.draft(None, (original[0] // factor, original[1] // factor))  # JPEG only; else nothing
        with picture:
            rgb, upright = _decode(picture, original, factor)
        if fit:
            height, width = target_size("image", 1, *upright[::-1], pixels)
            rgb = rgb.resize((width, height), Image.Resampling.BICUBIC)
        array = np.asarray(rgb)
    except (OSError, SyntaxError, EOFError) as error:
        raise MediaError(name, "the picture is damaged or cut off: copy or download it again") from error
    except ValueError as error:
        raise MediaError(name, str(error)) from error
    reason = "approximate" if math.prod(original) <= EXACT_PIXELS else "very large"
    notes = (f"{reason}: reduced {factor} times before the exact resize",) if factor > 1 else ()
    return Frames("image", name, array[None], *upright, digest("image", array[None]), notes=notes)


def open_animation(picture: Image.Image, path: Path) -> Clip:
    """An animated GIF, PNG, WebP or AVIF as a clip with the true duration of every frame.

    ``picture`` is what `open_picture` made of the file; the clip opens it again when it is read.

    A frame that gives no duration lasts `BROWSER_SECONDS`, as in a browser.

    Raises:
        MediaError: not even the first frame can be decoded.
    """
    first, total = int(picture.info.get("default_image", False)), picture.n_frames
    seconds, notes = [], ()
    try:
        for index in range(first, total):
            picture.seek(index)
            picture.load()  # WebP knows a frame's duration only then
            seconds.append((picture.info.get("duration") or 0) / 1000 or BROWSER_SECONDS)
    except (OSError, SyntaxError, EOFError, RuntimeError) as error:  # the last is AVIF's
        if not seconds:
            raise MediaError(path.name, "the animation is damaged: copy or download it again") from error
        notes = (f"the file ends early: {len(seconds)} of {total - first} frames could be read",)
    ends = np.cumsum(seconds)

    def read(wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        with open_picture(path) as again:
            for index in wanted:
                again.seek(first + index)
                yield index, np.asarray(to_rgb(again))

    fps = len(seconds) / ends[-1]
    return Clip(path.name, ends - seconds, float(ends[-1]), float(fps), *picture.size, read, notes)


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB. Transparent pixels show white, as the page does.

    ``I;16`` keeps its upper byte. ``I`` and ``F`` carry no range of their own: see `_to_bytes`.
    """
    if picture.mode.startswith("I;16"):
        grey = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        return grey.convert("RGB")
    if picture.mode in ("I", "F"):
        return Image.fromarray(_to_bytes(np.asarray(picture))).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Scale from the smallest usual range that holds the values, else from their own least and most."""
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    low, high = 0.0, values.max()
    if values.min() < 0 or high > 65535:
        low = values.min()
    else:
        tops = (255, 65535) if np.array_equal(values, values.round()) and high > 1 else (1, 255, 65535)
        high = next(top for top in tops if high <= top)
    return ((values - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8)


def _decode(
    picture: Image.Image, original: tuple[int, int], factor: int
) -> tuple[Image.Image, tuple[int, int]]:
    """(RGB picture, (width, height) of the upright original)."""
    picture.load()
    turned = _lies_on_its_side(picture)
    rest = max(1, round(factor * picture.width / original[0]))  # what JPEG's draft left to do
    ImageOps.exif_transpose(picture, in_place=True)
    rgb = to_rgb(picture)
    return rgb.reduce(rest) if rest > 1 else rgb, original[::-1] if turned else original


def _lies_on_its_side(picture: Image.Image) -> bool:
    return picture.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """(width, height) of an opened picture as it will be shown, without decoding it.

    A PNG may carry its orientation behind the pixels, where only decoding finds it.
    """
    turned = picture.format != "PNG" and _lies_on_its_side(picture)
    return picture.size[::-1] if turned else picture.size


def _reduction(size: tuple[int, int], target: tuple[int, int], whole: int = EXACT_PIXELS) -> int:
    """1 up to ``whole`` pixels, else the largest of 1, 2, 4, 8 that leaves both edges the model's length."""
    if math.prod(size) <= whole:
        return 1
    return max(k for k in (1, 2, 4, 8) if k == 1 or (size[0] >= k * target[0] and size[1] >= k * target[1]))


def _is_heic(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS


def _register_heic() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


def _too_large(name: str) -> MediaError:
    return MediaError(name, f"it has more than {MAX_PIXELS // 10**6} megapixels: make it smaller first")
