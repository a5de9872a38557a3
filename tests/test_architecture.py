"""The arrows between the rooms, and the README's map of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from source_imports import imports

ROOT = Path(__file__).parent.parent
STAGES = ("inputs", "models", "weights", "families", "chat", "lens", "train")
# What a room may import inside vlm/, beside the records and the config.
ALLOWED = {
    "inputs": {"inputs"},
    # The tower's and decoder's rooms: the toolbox only; model.py joins them.
    "models": {"models"},
    "weights": {"weights"},
    "families": {"families", "inputs", "models", "weights"},
    "chat": {"chat", "inputs", "models"},
    "lens": {"lens", "chat", "inputs", "models"},
    "train": {"train", "inputs", "lens", "models", "weights", "families"},
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", sources("vlm"), ids=lambda path: str(path.relative_to(ROOT)))
def test_vlm_imports_only_what_its_room_may(path):
    names = imports(path)
    assert not {name for name in names if name.split(".")[0] in ("ui", "gradio", "app")}
    room = path.relative_to(ROOT / "vlm").parts[0]
    if room in ALLOWED:
        rooms = {name.split(".")[1] for name in names if name.startswith("vlm.")}
        assert rooms & set(STAGES) <= ALLOWED[room]


@pytest.mark.parametrize("name", ["tower.py", "connectors.py", "decoder.py"])
def test_no_stage_imports_another(name):
    others = {f"vlm.models.{other}" for other in ("tower", "connectors", "decoder", "model")}
    assert not imports(ROOT / "vlm/models" / name) & (others - {f"vlm.models.{name[:-3]}"})


def test_no_one_outside_families_asks_for_the_family():
    for path in sources("vlm"):
        if path.parent.name != "families":
            assert "model_type" not in path.read_text() or path.parent.name == "train", path


def test_model_files_know_nothing_of_what_changes_them():
    for path in sources("vlm/models"):
        text = path.read_text().lower()
        assert not re.search(r"bitsandbytes|4.?bit|lora|gradio|spaces\b", text), path


def tracked() -> set[str]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(listing.stdout.splitlines())


def mapped() -> set[str]:
    """Files named in the README's map: a heading line ends in /, indented lines lie below it."""
    block = re.search(r"```text map\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    folders: list[str] = []
    files = set()
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders = folders[:depth]
        if name.endswith("/"):
            folders.append(name)
        else:
            files.add("".join(folders) + name)
    return files


def test_readme_maps_every_source_file():
    code = {
        name for name in tracked()
        if name.startswith(("vlm/", "ui/")) and name.endswith(".py") and not name.endswith("__init__.py")
    }  # fmt: skip
    assert code - mapped() == set(), "in the tree but not in the README's map"
    assert {name for name in mapped() if not (ROOT / name).exists()} == set(), (
        "in the map but not in the tree"
    )


def test_repo_stays_small():
    sizes = {n: (ROOT / n).stat().st_size for n in tracked() if n.startswith(("examples/", "vlm/tiny/"))}
    assert max(sizes.values()) < 10 * 2**20
    assert sum(sizes.values()) < 25 * 2**20
