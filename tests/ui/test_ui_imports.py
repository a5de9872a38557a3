"""Which parts of the page may know what."""

from __future__ import annotations

from pathlib import Path

import pytest
from source_imports import imports

UI = Path(__file__).parents[2] / "ui"


@pytest.mark.parametrize("path", sorted(UI.glob("*.py")), ids=lambda path: path.name)
def test_only_the_service_reaches_the_engine(path):
    vlm = {name for name in imports(path) if name.startswith("vlm")}
    assert path.name == "service.py" or vlm <= {"vlm.records"}


@pytest.mark.parametrize("name", ["state.py", "draw.py", "service.py", "guard.py"])
def test_what_can_be_tested_without_a_page_does_not_import_gradio(name):
    assert not {found for found in imports(UI / name) if found.split(".")[0] == "gradio"}


def test_no_asset_names_a_foreign_host():
    for path in (UI / "assets").iterdir():
        assert "://" not in path.read_text(), path.name


def test_texts_never_become_markup():
    for path in (UI / "assets").glob("*.js"):
        code = "\n".join(line.partition("//")[0] for line in path.read_text().splitlines())
        assert "innerHTML" not in code, path.name
