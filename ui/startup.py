"""Opens Gradio without the stub files that it writes for editors, half of its time to import."""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

STUBS = "gradio.component_meta"


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
