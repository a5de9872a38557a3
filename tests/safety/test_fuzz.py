"""A few files of what `make fuzz` gives to the app, and the judgement about the packages."""

from __future__ import annotations

from itertools import islice

import audit
from fuzz import Fuzz, mutants
from seeds import seeds_of_clips, seeds_of_pictures


def test_damaged_files_are_read_or_refused_in_words(attacked):
    talk = attacked.me
    for seeds in (seeds_of_pictures(), seeds_of_clips()):
        fuzz = Fuzz(attacked.address, talk.http.cookies)
        figures = fuzz.run(islice(mutants(seeds, 10_000, seed=1), 24), workers=2)
        assert not figures.problems
        assert figures.outcomes.total() == 24 and figures.outcomes["read"] < 24


def test_every_format_is_among_the_seeds():
    pictures, clips = seeds_of_pictures(), seeds_of_clips()
    for kind in ("png", "jpeg", "mpo", "gif", "webp", "bmp", "dib", "tiff", "ppm", "ico"):
        assert any(kind in name for name in pictures), kind
    for kind in (
        "mp4",
        "mov",
        "matroska",
        "webm",
        "avi",
        "flv",
        "mpegts",
        "mpeg",
        "asf",
        "h264",
        "animated-gif",
    ):
        assert any(kind in name for name in clips), kind


def test_mutants_are_the_same_each_time():
    seeds = {"a.png": bytes(range(200)), "b.png": bytes(300)}
    assert list(mutants(seeds, 40, 3)) == list(mutants(seeds, 40, 3)) != list(mutants(seeds, 40, 4))


def test_holes_in_packages_fail_the_check(capsys):
    whole = {"name": "a", "version": "1", "vulns": []}
    hole = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
    unknown = {"name": "c", "version": "1", "skip_reason": "Dependency not found on PyPI"}
    assert audit.report([whole, unknown]) == 0 and "1 packages checked, 1 not" in capsys.readouterr().out
    assert audit.report([whole, hole]) == 1 and "CVE-1, closed by 3" in capsys.readouterr().out
    assert audit.report([unknown]) == 0 and "NOT CHECKED" in capsys.readouterr().out
