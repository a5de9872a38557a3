"""The folder of uploads, the accounts of clients, and what strangers change."""

from __future__ import annotations

import os
import secrets
import threading
import time
from itertools import count

import gradio as gr
import pytest
from gradio.state_holder import StateHolder

from ui.clients import Allowance, Clients, bytes_of
from ui.service import Refused
from ui.service.running import Running
from ui.service.telling import without_paths
from ui.serving import Serving
from ui.state import UserSession
from ui.store import VARIABLE, Sweeper, let_go, own_folder


def test_old_files_go_and_the_page_s_own_stay(tmp_path):
    own = tmp_path / "poster.png"
    own.touch()
    sweeper = Sweeper(tmp_path, keep_seconds=3600)
    sweeper.close()
    (tmp_path / "hash").mkdir()
    for name in ("tmpbroken", "hash/upload.png"):
        (tmp_path / name).touch()
    sweeper.sweep()
    assert len(list(tmp_path.rglob("*"))) == 4
    sweeper.keep_seconds = -1
    os.utime(tmp_path / "hash", (0, 0))
    sweeper.sweep()
    sweeper.sweep()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["poster.png"]


def test_closed_pages_are_forgotten_after_a_time():
    gone = []
    with gr.Blocks() as page:
        gr.State("a chat", delete_callback=gone.append)
    holder = StateHolder()
    holder.set_blocks(page)
    state = next(iter(page.blocks))
    for name in ("open", "closed"):
        holder[name][state] = f"chat of {name}"
    holder["closed"].is_closed = True
    let_go(holder, 60)
    assert set(holder.session_data) == {"open", "closed"} and not gone
    let_go(holder, 0)
    assert set(holder.session_data) == {"open"} and gone == ["chat of closed"]
    assert set(holder.time_last_used) == {"open"}


def test_the_folder_is_emptied_and_closed_to_others(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"glassbox-{os.getuid()}-7860" / "upload.png"
    left.parent.mkdir()
    left.touch()
    folder = own_folder(7860)
    assert folder == left.parent and not left.exists() and folder.stat().st_mode & 0o077 == 0
    monkeypatch.delenv(VARIABLE)
    folder.rmdir()
    folder.symlink_to("/etc")  # somebody was there before
    assert own_folder(7860) != folder and os.environ[VARIABLE] != str(folder)


@pytest.mark.parametrize(
    ("serving", "strangers"),
    [
        (Serving(), False),
        (Serving(host="0.0.0.0"), True),
        (Serving(share=True), True),
        (Serving(host="0.0.0.0", auth=("a", "b")), False),
        (Serving(host="::1"), False),
    ],
)
def test_strangers_bring_the_lock_and_the_limits(serving, strangers):
    assert serving.strangers == serving.locked == strangers
    assert (serving.allowance.questions, serving.allowance.bytes) == (
        (20, 500_000_000) if strangers else (0, 0)
    )


def test_the_operator_has_the_last_word():
    assert not Serving(host="0.0.0.0", lock_model=False).locked
    assert Serving(lock_model=True).locked
    assert Serving(host="0.0.0.0", questions=0, upload_quota="0").allowance.bytes == 0


def test_accounts_are_each_client_s_own():
    clients = Clients(Allowance(questions=2, bytes=10))
    assert [clients.wait_to_ask("a", True) > 0 for _ in range(3)] == [False, False, True]
    assert clients.wait_to_ask("b", True) == 0 and clients.wait_to_ask("a", False) == 0
    assert clients.charge("a", 10) and not clients.charge("a", 1) and clients.charge("b", 1)


def test_a_minute_later_one_may_ask_again(monkeypatch):
    clients, now = Clients(Allowance(questions=1, bytes=10, keep_seconds=100)), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert clients.wait_to_ask("a", True) == 0 and clients.wait_to_ask("a", True) == 60
    assert clients.charge("a", 10) and not clients.charge("a", 1)
    now[0] = 61
    assert clients.wait_to_ask("a", True) == 0 and not clients.charge("a", 1)
    now[0] = 101
    assert clients.charge("a", 1)


@pytest.mark.parametrize(
    ("text", "size"), [("500mb", 500_000_000), ("2 GB", 2 * 10**9), ("0", 0), ("1.5k", 1500)]
)
def test_sizes_are_read(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1", "1e9", "5 mbit"])
def test_other_sizes_are_refused(text):
    with pytest.raises(ValueError, match="no size"):
        bytes_of(text)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("no model '/root/secret/qwen'", "no model 'qwen'"),
        (
            "[Errno 2] No such file: '/a/b/c.json'",
            "[Errno 2] No such file: 'c.json'",
        ),
        ("http://gpu:8000/v1 does not answer", "http://gpu:8000/v1 does not answer"),
        ("3/4 frames and/or more", "3/4 frames and/or more"),
        ("Qwen/Qwen3-VL-2B-Instruct is ready.", "Qwen/Qwen3-VL-2B-Instruct is ready."),
    ],
)
def test_paths_are_cut_out_of_what_everybody_reads(said, heard):
    assert without_paths(said) == heard


@pytest.mark.parametrize("grace", [5.0, 0.0])
def test_a_turn_that_runs_is_waited_for_or_told_to_stop(grace):
    running, user = Running(), UserSession()
    stop, begun = user.begin(), threading.Event()

    def turn():
        with running.turn(user):
            begun.set()
            stop.wait(0.5)

    thread = threading.Thread(target=turn)
    thread.start()
    begun.wait()
    assert running.drain(grace)
    assert stop.is_set() == (grace == 0)
    with pytest.raises(Refused, match="restarted"), running.turn(user):
        pass
    thread.join()
    assert not running.drain(grace)


def test_run_ids_cannot_be_guessed(monkeypatch):
    """And could be, if they were counted."""
    from ui.service import service

    def ids(times: int) -> list[str]:
        return [service.secrets.token_urlsafe(16) for _ in range(times)]

    assert len(set(ids(100))) == 100 and min(map(len, ids(100))) >= 22
    counter = count()
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: str(next(counter)))
    assert ids(2) == ["0", "1"]
