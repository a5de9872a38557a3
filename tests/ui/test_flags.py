"""Flags and environment variables of ``python app.py``."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

import app as program
import ui.build

RUNNER = CliRunner()
APP = typer.Typer(add_completion=False)
APP.command()(program.main)


@pytest.fixture
def served(monkeypatch):
    """What would have been served: (choice, serving)."""
    seen = []
    monkeypatch.setattr(ui.build, "build", lambda service, serving: None)
    monkeypatch.setattr(
        ui.build, "launch", lambda page, service, serving: seen.append((service.choice, serving))
    )
    return seen


def test_flags_reach_the_model_and_the_server(served):
    flags = (
        "--model some/where --quantize nf4 --attention eager --device cpu --engine http://127.0.0.1:8000/v1 "
        "--config c --host 0.0.0.0 --port 8000 --share --auth me:secret --queue-size 4 --max-file-size 5mb "
        "--allowed-hosts a.example,b.example --lock-model on --questions 5 --upload-quota 1gb --keep-hours 2 "
        "--grace 5 --media-memory 1gb --media-seconds 30"
    )
    assert RUNNER.invoke(APP, flags.split()).exit_code == 0
    ((choice, serving),) = served
    assert choice == ui.build.Service(choice=choice).choice
    assert (choice.model, choice.quantize, choice.attention, choice.device) == (
        "some/where",
        "nf4",
        "eager",
        "cpu",
    )
    assert (choice.engine, choice.config) == ("http://127.0.0.1:8000/v1", "c")
    hosts = ("a.example", "b.example")
    assert serving == ui.build.Serving(
        "0.0.0.0", 8000, True, ("me", "secret"), 4, "5mb", False, hosts, True, 5, "1gb", 2, 5
    )


def test_environment_variables_stand_in_for_flags(served, monkeypatch):
    monkeypatch.setenv("GLASSBOX_MODEL", "folder")
    monkeypatch.setenv("GLASSBOX_MAX_FILE_SIZE", "7mb")
    monkeypatch.setenv("GLASSBOX_SHARE", "1")
    assert RUNNER.invoke(APP, ["--model", "other"]).exit_code == 0
    ((choice, serving),) = served
    assert choice.model == "other"  # a flag wins
    assert (serving.max_file_size, serving.share) == ("7mb", True)


@pytest.mark.parametrize(
    "flags",
    [
        "--auth onlyname", "--port 0", "--queue-size 0", "--auth me:secret --mcp", "--lock-model x",
        "--media-memory x", "--grace -1",
    ],
)  # fmt: skip
def test_wrong_flags_end_with_two(served, flags):
    assert RUNNER.invoke(APP, flags.split()).exit_code == 2
    assert served == []


def test_help_names_every_flag():
    text = RUNNER.invoke(APP, ["--help"], env={"COLUMNS": "200"}).output
    names = (
        "model quantize attention device engine config host port share auth queue-size max-file-size mcp "
        "allowed-hosts lock-model questions upload-quota keep-hours grace media-memory media-seconds"
    )
    for name in names.split(" "):
        assert f"--{name}" in text
        assert "GLASSBOX_" + name.upper().replace("-", "_") in text
