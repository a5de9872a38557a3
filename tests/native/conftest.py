from __future__ import annotations

import pytest

from vlm.native import attention, library, rows, vector
from vlm.weights import streamed


def _forget() -> None:
    for found in (library.library, streamed.works, attention._works, rows._works, vector._works):
        found.cache_clear()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A cache in which the functions are compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def ours(compiled, monkeypatch):
    """Our own functions switched on."""
    monkeypatch.delenv("GLASSBOX_KERNEL", raising=False)
    monkeypatch.delenv("GLASSBOX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(compiled))
    _forget()
    if library.library() is None:
        pytest.skip(f"needs g++ and a CPU with {', '.join(sorted(library.NEEDED))}")
    yield
    _forget()
