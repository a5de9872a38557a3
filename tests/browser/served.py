"""Starting the app as a person would, and finding the browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = os.environ.get("GLASSBOX_MODEL", "tiny")
PATIENCE = 60  # seconds
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def browser_options() -> dict:
    """How playwright starts the system's Chromium."""
    name = os.environ.get("CHROMIUM", "chromium")
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} is not installed: apt-get install chromium, or set CHROMIUM")
    return {"executable_path": path, "args": _FLAGS.split()}


class Address(str):
    """Where a running app answers; ``process`` is its process."""

    process: subprocess.Popen


@contextmanager
def running_app(folder: Path, *program: str) -> Iterator[Address]:
    """The app in a process of its own; yields its address and ends it afterwards.

    ``program`` is what Python runs instead of ``app.py --model MODEL``; it gets ``--port``.
    """
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        port = plug.getsockname()[1]
    log = folder / "app.log"
    program = program or ("app.py", "--model", MODEL, "--device", "cpu")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *program, "--port", str(port)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "GRADIO_TEMP_DIR": str(folder / "cache")},
        )
    try:
        address = Address(f"http://127.0.0.1:{port}/")
        address.process = process
        _wait(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _wait(address: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the app ended:\n{log.read_text()}")
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the app did not answer within {PATIENCE} s:\n{log.read_text()}")
