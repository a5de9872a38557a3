"""What the README shows can be run as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    shown = [
        line.split("  #")[0].split("   ")[0] for line in TEXT.splitlines() if line.startswith("python -m vlm")
    ]
    # These take minutes to hours: tests/train and tests/test_cli.py run them on little.
    long = tuple(f"python -m vlm {verb}" for verb in ("train", "evaluate", "bench"))
    return [line for line in shown if not line.startswith(long)]


def test_the_readme_shows_every_verb():
    shown = {line.split()[3] for line in TEXT.splitlines() if line.startswith("python -m vlm")}
    listed = subprocess.run([sys.executable, "-m", "vlm", "--help"], cwd=ROOT, capture_output=True, text=True)
    verbs = set(re.findall(r"│ (\w+) +", listed.stdout)) & set(re.findall(r"\w+", listed.stdout))
    assert shown >= {verb for verb in verbs if verb.islower()} - {"help"}


@pytest.mark.parametrize("command", commands())
def test_command_runs(command, tmp_path):
    words = shlex.split(command)[1:]
    words = [str(tmp_path / word) if word == "out.npz" else word for word in words]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("path", re.findall(r"\]\(([\w./-]+)\)", TEXT))
def test_linked_files_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", ["run", "test", "check", "screenshots", "tiny"])
def test_make_targets_named_here_exist(target):
    assert f"make {target}" in TEXT
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
