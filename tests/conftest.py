"""Shared fixtures. No test may reach the network: a guard refuses every address but this machine's."""

from __future__ import annotations

import os
import socket

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GLASSBOX_CACHE", "off")  # tests leave nothing in a person's folders
os.environ.setdefault("GLASSBOX_KERNEL", "off")  # what every machine runs; tests/native has our own
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as vlm does, for tests that import torch first

LOCAL = {"127.0.0.1", "::1", "localhost", "0.0.0.0"}


class NetworkAccess(RuntimeError):
    """A test tried to leave this machine."""


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Refuse connections and look-ups beyond the loopback addresses, for the whole run."""
    connect, lookup = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            raise NetworkAccess(f"a test tried to connect to {address[0]}")
        return connect(self, address)

    def guarded_lookup(host, *args, **kwargs):
        if host not in LOCAL and host is not None:
            raise NetworkAccess(f"a test tried to look up {host}")
        return lookup(host, *args, **kwargs)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket, "getaddrinfo", guarded_lookup)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def tiny():
    """The embedded model, opened once."""
    from vlm.families.checkpoint import open_checkpoint

    return open_checkpoint("tiny", device="cpu")


@pytest.fixture(scope="session")
def exact():
    """The embedded model in float32, so that two ways to the same figure can be compared exactly."""
    import torch

    from vlm.families.checkpoint import open_checkpoint

    return open_checkpoint("tiny", device="cpu", dtype=torch.float32)


@pytest.fixture
def engine(exact):
    from vlm.chat.engine import Engine

    return Engine(exact.model, exact.tokenizer, "tiny")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A cache in which our own functions are compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def own_functions(compiled, monkeypatch):
    """Our own functions in C++ switched on."""
    from vlm.native import attention, library, rows, vector
    from vlm.weights import streamed

    def forget():
        for found in (library.library, streamed.works, attention._works, rows._works, vector._works):
            found.cache_clear()

    monkeypatch.delenv("GLASSBOX_KERNEL", raising=False)
    monkeypatch.delenv("GLASSBOX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(compiled))
    forget()
    if library.library() is None:
        pytest.skip(f"needs g++ and a CPU with {', '.join(sorted(library.NEEDED))}")
    yield
    forget()


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests of a process: Playwright runs only once in each."""
    from playwright.sync_api import sync_playwright
    from served import browser_options  # in tests/browser, which is on the path where a browser is wanted

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**browser_options())
        yield browser
        browser.close()
