"""Files read in processes of their own: the same records, and no file harms the program."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hostile_files import gif, png_bomb
from media_files import PIXELS, write_video
from PIL import Image

from vlm.inputs.media import open_media
from vlm.inputs.sandbox import Limits, Sandbox, wire
from vlm.records import MediaError

STRICT = Limits(memory_bytes=80 * 2**20, open_seconds=2, read_seconds=2, cpu_seconds=1, idle_seconds=1)


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module")
def strict():
    sandbox = Sandbox(STRICT)
    yield sandbox
    sandbox.close()


@pytest.fixture
def circle(tmp_path) -> Path:
    path = tmp_path / "circle.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("make", [lambda f: gif(f / "a.gif", 5), lambda f: write_video(f / "a.mp4"), None])
def test_records_are_those_of_this_process(sandbox, tmp_path, circle, make):
    path = make(tmp_path) if make else circle
    ours, theirs = open_media(path), sandbox.open(path)
    for medium, other in ((ours, theirs), (ours.plan(PIXELS), theirs.plan(PIXELS))):
        for field in fields(other):
            if field.name not in ("clip", "pixels", "resized", "sandbox", "readers"):
                assert getattr(medium, field.name) == getattr(other, field.name), field.name
    here, there = ours.patches(PIXELS), theirs.patches(PIXELS)
    assert np.array_equal(here.resized, there.resized)
    for field in fields(here):
        if field.name not in ("pixels", "resized"):
            assert getattr(here, field.name) == getattr(there, field.name), field.name
            assert type(getattr(here, field.name)) is type(getattr(there, field.name)), field.name


def test_frames_are_counted(sandbox, tmp_path):
    seen = []
    sandbox.open(write_video(tmp_path / "a.mp4")).patches(PIXELS, progress=lambda *step: seen.append(step))
    assert seen[-1][0] == seen[-1][1] == len({done for done, _ in seen if done})


def test_errors_keep_their_words(sandbox, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("This is no picture.")
    with pytest.raises(MediaError) as here:
        open_media(path)
    for _ in range(2):  # the second is remembered
        with pytest.raises(MediaError) as there:
            sandbox.open(path)
        assert str(there.value) == str(here.value)


def test_a_file_that_changed_is_read_anew(sandbox, circle):
    assert sandbox.open(circle).width == 80
    Image.new("RGB", (30, 20)).save(circle)
    assert sandbox.open(circle).width == 30


def test_memory_is_bounded(sandbox, strict, tmp_path):
    bomb = png_bomb(tmp_path / "bomb.png", 6000)  # 108 MB
    before = psutil.Process().memory_info().rss
    with pytest.raises(MediaError, match="GiB of memory"):
        strict.open(bomb).patches(PIXELS)
    assert psutil.Process().memory_info().rss - before < 2**24
    assert sandbox.open(bomb).patches(PIXELS).resized.size  # the limit alone was what refused it


@pytest.mark.parametrize("limits", [STRICT, replace(STRICT, cpu_seconds=60)])
def test_time_is_bounded(tmp_path, limits):
    """By CPU seconds, which the kernel counts, and by the clock."""
    box, path = Sandbox(limits), gif(tmp_path / "long.gif", 100_000)
    try:
        box.start()
        with pytest.raises(MediaError, match="more than 2 seconds"):
            box.open(path)
    finally:
        box.close()


def test_a_decoder_that_hangs_is_ended(strict, circle):
    medium = strict.open(circle)
    os.kill(medium.readers[0].pid, signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(MediaError, match="more than 2 seconds"):
        medium.patches(PIXELS)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_decoder_that_crashes_ends_alone(sandbox, tmp_path, how):
    medium = sandbox.open(write_video(tmp_path / "a.mp4"))
    reader = medium.readers[0]

    def crash(done: int, total: int) -> None:
        if done == 0:
            os.kill(reader.pid, how)
            os.kill(reader.pid, signal.SIGCONT)

    os.kill(reader.pid, signal.SIGSTOP)  # so that it is busy when it is hit
    with pytest.raises(MediaError, match=r"broke off|memory"):
        medium.patches(PIXELS, progress=crash)
    assert medium.patches(PIXELS).resized.size  # by a new one


def test_a_stop_ends_the_reader(sandbox, circle):
    medium = sandbox.open(circle)
    reader = medium.readers[0]
    os.kill(reader.pid, signal.SIGSTOP)

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    start = time.monotonic()
    with pytest.raises(InterruptedError):
        medium.patches(PIXELS, progress=stop)
    assert time.monotonic() - start < 1
    assert not reader.usable()


def test_the_server_may_die(sandbox, circle, tmp_path):
    sandbox.open(circle)
    os.kill(sandbox._server._process.pid, signal.SIGKILL)
    assert sandbox.open(gif(tmp_path / "b.gif", 3)).clip


def test_readers_that_nobody_asks_end(tmp_path):
    box = Sandbox(Limits(idle_seconds=1))
    try:
        for number in range(4):
            box.open(gif(tmp_path / f"{number}.gif", 2))
        server = psutil.Process(box._server._process.pid)
        deadline = time.monotonic() + 10
        while len(server.children()) > 1 and time.monotonic() < deadline:  # the one that waits stays
            time.sleep(0.2)
        assert len(server.children()) == 1
        assert box.open(tmp_path / "0.gif").patches(PIXELS).resized.size
    finally:
        box.close()


def test_readers_know_no_secrets_and_write_no_files(sandbox, circle, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    box = Sandbox()
    try:
        pid = box.open(circle).readers[0].pid
        assert b"OPENAI_API_KEY" not in Path(f"/proc/{pid}/environ").read_bytes()
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert "Max file size             0" in limits and "Max core file size        0" in limits
        status = Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
    finally:
        box.close()


@pytest.mark.parametrize(
    "message",
    [
        struct.pack("!I", 2**31),
        struct.pack("!I", 20) + b"no json at all......",
        struct.pack("!I", 38) + b'{"arrays": [["u1", [99999999999999]]]}',
        struct.pack("!I", 25) + b'{"arrays": [["u1", [-1]]]}',
        struct.pack("!I", 24) + b'{"arrays": [["O", [1]]]}',
    ],
)
def test_what_a_reader_says_is_not_believed(message):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(message)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises((ValueError, KeyError, EOFError)):
            wire.receive(ours)
