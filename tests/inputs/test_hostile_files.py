"""Files that were made to do harm: each ends in words or in a plain picture, soon and in little memory."""

from __future__ import annotations

import time
from pathlib import Path

import hostile_files as hostile
import psutil
import pytest
from media_files import PIXELS

from vlm.inputs.media import open_media
from vlm.inputs.sandbox import Limits, Sandbox
from vlm.records import MediaError

LIMITS = Limits(memory_bytes=200 * 2**20, open_seconds=10, read_seconds=10, cpu_seconds=10)


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox(LIMITS)
    yield sandbox
    sandbox.close()


def zip_of_pictures(path: Path) -> Path:
    path.write_bytes(b"PK\3\4" + b"\0" * 100)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: hostile.png_claims(p, 65_535, 65_535), "megapixels"),
        (lambda p: hostile.png_claims(p, 2**31 - 1, 1), "megapixels"),
        (lambda p: hostile.jpeg_claims(p), "megapixels"),
        (lambda p: hostile.gif(p, 100_000, 65_535), "megapixels"),
        (lambda p: hostile.gif(p, 3, 13_000), "smaller"),
        (lambda p: hostile.png_bomb(p, 9_000), "GiB of memory"),
        (hostile.png_text_bomb, "."),
        (lambda p: hostile.nested_boxes(p), "."),
        (hostile.tiff_that_bites_its_tail, None),
        (hostile.long_clip, None),
        (hostile.fast_clip, None),
        (hostile.icon_of_icons, "."),
        (zip_of_pictures, "zip archive"),
        (lambda p: hostile.playlist(p, "file:///etc/passwd"), "looks like text"),
        (lambda p: hostile.playlist(p, "http://127.0.0.1:9/a.ts"), "looks like text"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_it_ends_in_words_or_in_a_picture(sandbox, tmp_path, make, words):
    path, start = make(tmp_path / "file.mp4"), time.monotonic()
    before = psutil.Process().memory_info().rss
    try:
        patches = sandbox.open(path).patches(PIXELS)
        assert words is None and patches.resized.size
    except MediaError as error:
        assert words and words.strip(".") in str(error), str(error)
        assert str(tmp_path) not in str(error)
    assert time.monotonic() - start < 15
    assert psutil.Process().memory_info().rss - before < 2**26


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("http://127.0.0.1:9/a.png", "links are not opened"),
        ("file:///etc/passwd", "links are not opened"),
        ("data:image/png;base64,AAAA", "links are not opened"),
        ("concat:/etc/passwd|/etc/group", "no such file"),
        ("subfile,,start,0,end,0,,:/etc/passwd", "no such file"),
        ("/dev/zero", "not an ordinary file"),
        ("/etc", "it is a folder"),
    ],
)
@pytest.mark.parametrize("where", [open_media, "sandbox"])
def test_only_ordinary_files_are_opened(sandbox, name, words, where):
    with pytest.raises(MediaError, match=words):
        (sandbox.open if where == "sandbox" else where)(name)
