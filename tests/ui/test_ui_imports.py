"""Which parts of the page may know what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from source_imports import imports

UI = Path(__file__).parents[2] / "ui"


@pytest.mark.parametrize("path", sorted(UI.rglob("*.py")), ids=lambda path: str(path.relative_to(UI)))
def test_only_the_service_reaches_the_engine(path):
    vlm = {name for name in imports(path) if name.startswith("vlm")}
    assert path.parent.name == "service" or vlm <= {"vlm.records"}


OPENS = """
import sys
from gradio import component_meta
from ui.build import build
from ui.service import Choice, Service
build(Service())
assert "torch" not in sys.modules and "vlm" not in sys.modules
from ui.service import backend
backend.open_engine(Choice(device="cpu"))
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules
assert component_meta.create_or_modify_pyi.__module__ == "ui.startup"
"""


def test_page_and_model_open_without_what_they_do_not_need():
    """PyTorch takes two seconds, its compiler two more, and the stub files of Gradio another two."""
    program = [sys.executable, "-c", "import ui\n" + OPENS]
    done = subprocess.run(program, cwd=UI.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name", ["state.py", "draw.py", "guard.py", "machine.py", "service/service.py", "service/backend.py"]
)
def test_what_can_be_tested_without_a_page_does_not_import_gradio(name):
    assert not {found for found in imports(UI / name) if found.split(".")[0] == "gradio"}


def test_no_asset_names_a_foreign_host():
    for path in (UI / "assets").iterdir():
        assert "://" not in path.read_text(), path.name


def test_texts_never_become_markup():
    for path in (UI / "assets").glob("*.js"):
        code = "\n".join(line.partition("//")[0] for line in path.read_text().splitlines())
        assert "innerHTML" not in code, path.name
