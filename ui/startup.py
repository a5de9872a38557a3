"""What comes before Gradio is imported: its stub files are left out, and memory is kept in few places."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

STUBS = "gradio.component_meta"  # writes files for editors, half of the time that the import takes
M_ARENA_MAX, ARENAS = -8, 2  # mallopt(3)


class WithoutStubs(MetaPathFinder):
    """Finds the one module of Gradio that writes a .pyi file for every class, and has it write none."""

    def find_spec(self, name: str, path, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != STUBS:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, loader: Loader):
        self.loader = loader

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        module.create_or_modify_pyi = lambda *_: None


def skip_stubs() -> None:
    """To be called before Gradio is imported; afterwards it does nothing."""
    if STUBS not in sys.modules:
        sys.meta_path.insert(0, WithoutStubs())


def few_arenas() -> None:
    """To be called before threads start; where the C library is not glibc it does nothing.

    glibc gives threads up to eight arenas a core, and each keeps what it once needed. Those of the page's
    threads held 0.6 GB after 4,000 answers of the embedded model (docs/security.md has the curve since).
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
