"""Files that were made to do harm, written on the fly: small on disk, large or endless once they are read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from media_files import write_video
from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))


def png_bomb(path: Path, edge: int) -> Path:
    """A square of one colour: a few kilobytes that unpack to ``3 * edge²`` bytes."""
    packer = zlib.compressobj(9)
    row = b"\0" * (3 * edge + 1)
    data = b"".join(packer.compress(row) for _ in range(edge)) + packer.flush()
    header = struct.pack("!IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    path.write_bytes(_PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b""))
    return path


def png_claims(path: Path, width: int, height: int) -> Path:
    """A header with such a size and nothing behind it."""
    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(_PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0")))
    return path


def png_text_bomb(path: Path, size: int = 2**28) -> Path:
    """A picture of one pixel with a compressed comment that unpacks to ``size`` bytes."""
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(b"\0" * 2**20) for _ in range(size // 2**20)) + packer.flush()
    header = struct.pack("!IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"zTXt", b"Comment\0\0" + text)
    path.write_bytes(_PNG + chunks + _chunk(b"IDAT", zlib.compress(b"\0" * 4)) + _chunk(b"IEND", b""))
    return path


def jpeg_claims(path: Path, edge: int = 65_535) -> Path:
    """A small JPEG whose header says ``edge`` × ``edge``."""
    Image.new("RGB", (16, 16)).save(path, "JPEG")
    data = bytearray(path.read_bytes())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack("!HH", edge, edge)
    path.write_bytes(data)
    return path


def gif(path: Path, frames: int, edge: int = 64) -> Path:
    """A GIF of ``frames`` frames of one pixel on a screen of ``edge`` × ``edge``."""
    head = b"GIF89a" + struct.pack("<HHBBB", edge, edge, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x21\xf9\x04\0\0\0\0\0\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    path.write_bytes(head + frame * frames + b";")
    return path


def nested_boxes(path: Path, depth: int = 20_000) -> Path:
    """An MP4 whose ``moov`` boxes lie in each other."""
    body = b""
    for _ in range(depth):
        body = struct.pack("!I", len(body) + 8) + b"moov" + body if len(body) < 2**31 else body
    path.write_bytes(struct.pack("!I", 16) + b"ftypisom\0\0\2\0" + body)
    return path


def tiff_that_bites_its_tail(path: Path) -> Path:
    """A TIFF whose directory says that the next directory is itself."""
    Image.new("L", (8, 8)).save(path, "TIFF")
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    path.write_bytes(data)
    return path


def playlist(path: Path, target: str) -> Path:
    """An HLS playlist that makes ffmpeg open ``target``, under a video's name."""
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n")
    return path


def long_clip(path: Path) -> Path:
    """Two frames, a million seconds apart."""
    return write_video(path, 2, times=[0, 1_000_000])


def fast_clip(path: Path) -> Path:
    """Frames that follow each other by a millisecond, in a file that says a hundred thousand a second."""
    return write_video(path, 40, fps=100_000, times=[i / 1000 for i in range(40)])


def icon_of_icons(path: Path) -> Path:
    """An icon whose only picture says that it is 60,000 pixels wide."""
    inner = png_claims(path.with_suffix(".inner"), 60_000, 60_000).read_bytes()
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(inner), 22)
    path.write_bytes(struct.pack("<HHH", 0, 1, 1) + entry + inner)
    return path
