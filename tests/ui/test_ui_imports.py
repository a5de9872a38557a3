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


def test_the_page_is_built_without_torch():
    """It takes two seconds to import, which the page need not wait for."""
    script = "import sys; from ui.build import build; from ui.service import Service; build(Service()); "
    script += "sys.exit('torch' in sys.modules or 'vlm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=UI.parent).returncode == 0


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
