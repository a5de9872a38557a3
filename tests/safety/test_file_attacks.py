"""Hostile files through upload and /inspect of the running app: repelled, and not without their guard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hostile_files as hostile
import pytest
from attacked import Attacked
from media_files import write_video
from talk import Refused

EXAMPLES = Path(__file__).parents[2] / "examples"
CIRCLE, CLIP = EXAMPLES / "circle.png", EXAMPLES / "moving_circle.mp4"
MOST_FRAMES = 8  # of the embedded model
ROOM = 64 * 2**20  # bytes by which the app may grow while a reader works


def answer(app: Attacked, *files: Path | tuple[str, bytes]) -> dict | str:
    """What /inspect says of uploaded files: the plan, or the words of its refusal."""
    return named(app, app.me.upload(*files))


def named(app: Attacked, names: list[str]) -> dict | str:
    try:
        return app.me.inspect(names)
    except Refused as refusal:
        return str(refusal)


def refused(found: dict | str, words: str) -> bool:
    return isinstance(found, str) and words in found


def scratch(app: Attacked, name: str) -> Path:
    return Path(app.log).with_name(name)


def bomb(app: Attacked) -> bool:
    """A picture that unpacks to more than a reader may take leaves the app as it was."""
    path = hostile.png_bomb(scratch(app, "bomb.png"), 10_000)  # 300 MB
    with app.growth() as growth:
        return refused(answer(app, path), "GiB of memory") and growth() < ROOM


def comment_bomb(app: Attacked) -> bool:
    """A comment of 256 MB in a picture of one pixel."""
    path = hostile.png_text_bomb(scratch(app, "comment.png"))
    with app.growth() as growth:
        answer(app, path)
        return growth() < ROOM


def giant_header(app: Attacked) -> bool:
    """65,535² in the header of a PNG and of a JPEG."""
    png = hostile.png_claims(scratch(app, "claims.png"), 65_535, 65_535)
    return all(
        refused(answer(app, file), "megapixels")
        for file in (png, hostile.jpeg_claims(png.with_suffix(".jpg")))
    )


def endless_animation(app: Attacked) -> bool:
    """A GIF of 100,000 frames: two megabytes on disk, a quarter of a minute to look through."""
    found = answer(app, hostile.gif(scratch(app, "endless.gif"), 100_000, 256))
    return refused(found, "takes more than 5 seconds")


def giant_frames(app: Attacked) -> bool:
    """Three frames of 69 megapixels each: few bytes in the file, 200 MB once a frame is shown."""
    return isinstance(answer(app, hostile.gif(scratch(app, "large.gif"), 3, 8_300)), str)


def absurd_times(app: Attacked) -> bool:
    """Two frames a million seconds apart, which is two million samples; and 100,000 frames a second."""
    clips = hostile.long_clip(scratch(app, "long.mp4")), hostile.fast_clip(scratch(app, "fast.mp4"))
    found = [answer(app, clip) for clip in clips]
    return all(isinstance(one, dict) and one["media"][0]["frames"] <= MOST_FRAMES for one in found)


def playlist(app: Attacked) -> bool:
    """A list of films that names one of the server's own."""
    secret = write_video(scratch(app, "secret.ts"), 5, size=(64, 48), codec="mpeg2video")
    return isinstance(answer(app, hostile.playlist(scratch(app, "list.m3u8"), f"file://{secret}")), str)


def zipped(app: Attacked) -> bool:
    """A zip archive in a picture's clothes is called what it is, and no decoder sees it."""
    return refused(answer(app, ("a.png", b"PK\3\4" + b"\0" * 100)), "zip archive")


def path_of_the_server(app: Attacked) -> bool:
    """Files that nobody uploaded: by their path, from a folder above, through a link in the uploads."""
    secret, cache = scratch(app, "secret.png"), scratch(app, "cache")
    secret.write_bytes(CIRCLE.read_bytes())
    link = cache / "link.png"
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    names = [str(secret), f"{cache}/../secret.png", str(link)]
    found = [named(app, [name]) for name in names]
    served = [app.me.http.get(f"gradio_api/file={name}").status_code for name in names]
    return all(isinstance(one, str) for one in found) and set(served) <= {403, 404}


def name_of_markup(app: Attacked) -> bool:
    (path,) = app.me.upload(("<img src=x onerror=alert(1)>.png", CIRCLE.read_bytes()))
    return not set("<>") & set(path)


ATTACKS: list[tuple[Callable[[Attacked], bool], str, list[str]]] = [
    (bomb, "sandbox", []),
    (comment_bomb, "comments", ["sandbox"]),
    (giant_header, "megapixels", ["sandbox"]),
    (endless_animation, "sandbox", []),
    (giant_frames, "frame size", ["sandbox"]),
    (absurd_times, "frames", ["sandbox"]),
    (playlist, "formats", ["sandbox", "other files"]),
    (zipped, "other files", ["sandbox"]),
    (path_of_the_server, "uploads only", []),
    (name_of_markup, "file names", []),
]


@pytest.mark.parametrize(
    ("attack", "guard", "off"), ATTACKS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_file_is_repelled_and_its_guard_does_that(attacked, attack, guard, off):
    """Also with the guard alone: ``off`` is taken away both times."""
    if off:
        assert attack(attacked), "the attack succeeded"
    with attacked.switched(off=off):
        assert attack(attacked), "the attack succeeded"
    with attacked.switched(off=[*off, guard]):
        assert not attack(attacked), "without its guard the attack should have succeeded"
    assert attacked.me.ask("Hello")["done"]
    assert isinstance(answer(attacked, CLIP), dict)
