"""Attacks on the running page. Each is repelled, and succeeds where its guard is switched off."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from attacked import Attacked
from talk import Refused, file_data

EXAMPLES = Path(__file__).parents[2] / "examples"
CIRCLE = EXAMPLES / "circle.png"
CHAT = {"data": ["Hello", [], "", 4, 0]}


def refused(answer: httpx.Response, status: int, words: str) -> bool:
    return answer.status_code == status and words in answer.text


def foreign_name(app: Attacked) -> bool:
    return refused(app.me.http.get("config", headers={"host": "rebound.example"}), 403, "unknown host")


def foreign_origin(app: Attacked) -> bool:
    answer = app.me.http.post("gradio_api/call/chat", json=CHAT, headers={"origin": "https://evil.example"})
    return refused(answer, 403, "foreign origin")


def foreign_page(app: Attacked) -> bool:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    return refused(app.me.http.get("config", headers=headers), 403, "foreign page")


def open_proxy(app: Attacked) -> bool:
    return all(
        refused(app.me.http.get(f"gradio_api/{path}"), 403, "not fetched")
        for path in (
            "proxy=https://a.hf.space/x", "file=http://127.0.0.1:9/a", "file=https:/a.example/x", "file=ftp://a/x"
        )
    )  # fmt: skip


def remote_file(app: Attacked) -> bool:
    return all(
        refused(app.me.call("chat", "Hello", [file_data(address)], "", 4, 0), 403, "not fetched")
        for address in ("http://127.0.0.1:9/a.png", "file:///etc/passwd", "ftp://127.0.0.1:9/a.png")
    )


def no_policy(app: Attacked) -> bool:
    """Against content from elsewhere on the page, sniffing, and frames around it."""
    headers = app.me.http.get("").headers
    policy = headers.get("content-security-policy", "")
    wanted = ("default-src 'self'", "img-src 'self' data: blob:;", "frame-src 'none'", "form-action 'self'")
    framed = "frame-ancestors 'self'" in policy and headers.get("x-content-type-options") == "nosniff"
    return framed and all(part in policy for part in wanted)


def unused_routes(app: Attacked) -> bool:
    """Monitoring, history, recordings, the source editor, links that write to the disk."""
    gets = (
        "monitoring", "monitoring/summary", "gradio_api/runs", "gradio_api/run-history/buckets",
        "gradio_api/vibe-code/", "gradio_api/deep_link?session_hash=x", "gradio_api/dev/reload",
        "gradio_api/token", "gradio_api/profiling/traces",
    )  # fmt: skip
    posts = ("gradio_api/process_recording", "gradio_api/vibe-edit/")
    answers = [app.me.http.post(path, json={}) for path in posts]
    for path in gets:
        with app.me.http.stream("GET", path) as answer:  # some would never end
            if answer.status_code != 404:
                return False
            answer.read()
        answers.append(answer)
    return all(refused(answer, 404, "nothing here") for answer in answers)


def endless_message(app: Attacked) -> bool:
    return refused(app.me.call("chat", "x" * 2**20, [], "", 4, 0), 413, "1 MB")


def endless_field(app: Attacked) -> bool:
    answer = app.me.http.post("gradio_api/upload", files=[("field", (None, b"x" * 2**17))])
    return refused(answer, 400, "too long")


def endless_file(app: Attacked) -> bool:
    return refused(app.me.send_files(("a.png", b"x" * (2**22 + 1))), 413, "maximum allowed size")


def no_password(app: Attacked) -> bool:
    stranger = httpx.Client(base_url=app.address)
    answers = [stranger.get(path) for path in ("config", "gradio_api/info", f"gradio_api/file={CIRCLE}")]
    answers += [stranger.post("gradio_api/call/chat", json=CHAT)]
    answers += [stranger.post("gradio_api/upload", files=[("files", ("a.png", b"x"))])]
    return {answer.status_code for answer in answers} == {401}


def other_model(app: Attacked) -> bool:
    """What anybody loads, everybody has to use."""
    app.me.http.post("gradio_api/run/load", json={"data": ["no-such-model", "auto", "auto", "auto"]})
    end = time.monotonic() + 3
    while time.monotonic() < end and "no-such-model" not in str(app.health()):
        time.sleep(0.2)
    return "no-such-model" not in str(app.health())


def paths_in_errors(app: Attacked) -> bool:
    app.me.http.post("gradio_api/run/load", json={"data": ["/root/secret/model", "auto", "auto", "auto"]})
    end = time.monotonic() + 10
    while time.monotonic() < end and "no model" not in str(app.health()):
        time.sleep(0.2)
    assert "no model" in str(app.health())
    return "/root/secret" not in str(app.health())


def many_files(app: Attacked) -> bool:
    (path,) = app.me.upload(CIRCLE)
    try:
        app.me.inspect([path] * 33)
    except Refused as error:
        return "too many" in str(error)
    return False


def endless_queue(app: Attacked) -> bool:
    question = {"data": ["Hello", [], "", 200, 0]}
    answers = [app.me.http.post("gradio_api/call/chat", json=question) for _ in range(16)]
    full = [answer for answer in answers if answer.status_code != 200]
    while app.me.http.get("gradio_api/queue/status").json()["queue_size"]:
        time.sleep(0.2)
    return bool(full) and all(refused(answer, 503, "Queue is full") for answer in full)


ATTACKS: list[tuple[Callable[[Attacked], bool], str, dict]] = [
    (foreign_name, "unknown host", {}),
    (foreign_origin, "foreign origin", {}),
    (foreign_page, "foreign page", {}),
    (open_proxy, "remote files are not fetched", {}),
    (remote_file, "remote files", {}),
    (no_policy, "headers", {}),
    (unused_routes, "there is nothing here", {}),
    (endless_message, "message size", {}),
    (endless_field, "form fields", {}),
    (endless_file, "file size", {}),
    (no_password, "auth", {}),
    (other_model, "lock", {}),
    (paths_in_errors, "paths", {"off": ["lock"]}),
    (many_files, "files", {}),
    (endless_queue, "queue", {}),
]


@pytest.mark.parametrize(
    ("attack", "guard", "beside"), ATTACKS, ids=lambda value: getattr(value, "__name__", "")
)
def test_an_attack_is_repelled_and_its_guard_does_that(attacked, attack, guard, beside):
    off = beside.get("off", [])
    with attacked.switched(off=off):
        assert attack(attacked), "the attack succeeded"
    with attacked.switched(off=[*off, guard]):
        assert not attack(attacked), "without its guard the attack should have succeeded"
    assert attacked.me.ask("Hello")["done"]


@pytest.mark.parametrize("guard", ["", "rate"])
def test_questions_a_minute_are_limited(attacked, guard):
    with attacked.switched(off=[guard], allowance={"questions": 2}):
        answers = [attacked.me.call("chat", "Hello", [], "", 4, 0) for _ in range(4)]
    late = [answer for answer in answers if answer.status_code == 429]
    assert bool(late) == (guard == "")
    assert all(0 < int(answer.headers["retry-after"]) <= 61 and "wait" in answer.text for answer in late)


@pytest.mark.parametrize("guard", ["", "quota"])
def test_each_client_s_share_of_the_disk_is_limited(attacked, guard):
    with attacked.switched(off=[guard], allowance={"bytes": 500_000}):
        answers = [attacked.me.send_files((f"{n}.png", bytes([n]) * 200_000)) for n in range(4)]
    assert (answers[-1].status_code == 413 and "deleted after" in answers[-1].text) == (guard == "")
    assert attacked.me.upload(CIRCLE)


@pytest.mark.parametrize("guard", ["", "disk"])
def test_uploads_end_before_the_disk_is_full(attacked, guard):
    with attacked.switched(off=[guard], allowance={"free_bytes": 2**60}):
        answer = attacked.me.send_files(CIRCLE)
    assert (answer.status_code == 507 and "full" in answer.text) == (guard == "")
