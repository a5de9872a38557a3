"""What may go wrong under the app: the next request works."""

from __future__ import annotations

import resource
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from attacked import LOGIN, Attacked
from hostile_files import gif
from served import running_app
from talk import Refused, Talk

EXAMPLES = Path(__file__).parents[2] / "examples"
CIRCLE = EXAMPLES / "circle.png"
ASKED = "What shape is it?"


@pytest.fixture(scope="module")
def right(attacked) -> str:
    """The greedy answer about the circle."""
    return attacked.me.ask(ASKED, attacked.me.upload(CIRCLE))["answer"]


@pytest.fixture(scope="module", autouse=True)
def early(attacked) -> Path:
    """An upload from the module's first moments."""
    (path,) = attacked.me.upload(("mine.png", CIRCLE.read_bytes() + b"mine"))
    assert Path(path).is_file()
    return Path(path)


def works(app: Attacked, right: str) -> bool:
    return app.me.ask(ASKED, app.me.upload(CIRCLE))["answer"] == right


@pytest.mark.parametrize("failure", ["memory", "cuda", "bug"])
def test_a_model_that_fails_once_answers_the_next_question(attacked, right, failure):
    with attacked.switched(fail=failure):
        try:
            said = attacked.me.ask(ASKED, attacked.me.upload(CIRCLE))
            assert failure == "memory" and said["finish"] in ("memory", "eos")
        except Refused as error:
            assert "/root" not in str(error) and "KeyError" not in str(error)
            assert "memory" in str(error) if failure == "memory" else "reference" in str(error)
    assert works(attacked, right)


def test_readers_and_their_server_may_be_killed(attacked, right):
    attacked.me.inspect(attacked.me.upload(CIRCLE))
    for child in psutil.Process(attacked.process.pid).children(recursive=True):
        child.kill()
    assert works(attacked, right)


def test_a_file_that_never_ends_is_given_up(attacked, right, tmp_path):
    path = gif(tmp_path / "long.gif", 350_000)
    start = time.monotonic()
    with attacked.switched(off=["file size"]):
        upload = attacked.me.upload(path)
    with pytest.raises(Refused, match=r"more than \d+ seconds"):
        attacked.me.inspect(upload)
    assert time.monotonic() - start < 40
    assert works(attacked, right)


def test_a_full_disk_fails_an_upload_and_nothing_else(attacked, right):
    before = resource.prlimit(attacked.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(attacked.process.pid, resource.RLIMIT_FSIZE, (2**18, before[1]))  # stands in for ENOSPC
    try:
        other = Talk(attacked.address, LOGIN)
        assert other.send_files(("large.png", bytes(2**19))).status_code >= 400
    finally:
        resource.prlimit(attacked.process.pid, resource.RLIMIT_FSIZE, before)
    assert works(attacked, right)


def test_clients_that_vanish_while_they_upload(attacked, right):
    host, port = attacked.address.removeprefix("http://").strip("/").split(":")
    cookies = "; ".join(f"{name}={value}" for name, value in attacked.me.http.cookies.items())
    head = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookies}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    )
    for _ in range(10):
        with socket.create_connection((host, int(port))) as plug:
            plug.sendall(head.encode() + b"x" * 200_000)
    assert works(attacked, right)


def test_clients_that_vanish_while_they_are_answered(attacked, right):
    threads = psutil.Process(attacked.process.pid).num_threads()
    for _ in range(4):
        client = Talk(attacked.address, LOGIN)
        stream = client.events("chat", "Hello", [], "", 1000, 0)
        next(stream)
        stream.close()
        client.http.close()
    start = time.monotonic()
    assert works(attacked, right)
    assert time.monotonic() - start < 20
    assert psutil.Process(attacked.process.pid).num_threads() < threads + 20


def test_uploads_are_deleted_after_a_time(attacked, early):
    """Those that broke off too."""
    cache = Path(attacked.log).parent / "cache"
    end = time.monotonic() + 60
    while time.monotonic() < end and (early.exists() or list(cache.glob("tmp*"))):
        time.sleep(0.5)
    assert not early.exists() and not list(cache.glob("tmp*"))


def test_the_running_answer_ends_before_the_app_does(tmp_path):
    with running_app(tmp_path, "tests/safety/patient_app.py", "20") as address:
        client = Talk(address)
        client.ask("Hello", tokens=1)  # the model is there now
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.ask, "Hello", tokens=25)
            time.sleep(1)
            address.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(Refused, match="restarted"):
                Talk(address).ask("Another?")
            assert answer.result()["finish"] == "length"
        assert address.process.wait(20) == 0
