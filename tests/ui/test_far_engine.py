"""The page over a server that has the model: what it shows is laid out here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ui import draw, header
from ui.examples import FOLDER
from ui.service import Choice, Finished, Service
from ui.state import Ask, UserSession

sys.path.append(str(Path(__file__).parents[1] / "chat"))
from fake_server import FakeServer, words


@pytest.fixture
def server():
    server = FakeServer()
    yield server
    server.close()


def test_a_turn_over_a_server(server):
    server.script = words("A re", "d circle", ".")
    service = Service(choice=Choice("m", engine=server.url, config="tiny"))
    service.load(service.choice).join()
    assert service.loading().state == "ready", service.loading().text
    user = UserSession()
    user.begin()
    *_, end = service.turn(user, Ask("What is it?", (str(FOLDER / "circle.png"),)))
    assert isinstance(end, Finished)
    assert user.exchanges[0].answer == "A red circle."
    assert draw.grid_data(end.run)["media"][0]["tokens"] == 36
    shown = {label: value for label, value, _ in draw.timing(end.run.trace.stats)}
    assert server.url in shown["Device"]
    assert "Weights" not in shown
    assert "parameters" not in dict(header.render(service)["chips"])


def test_a_server_that_is_not_there_is_told(server):
    server.close()
    service = Service(choice=Choice("m", engine=server.url, config="tiny"))
    service.load(service.choice).join()
    assert service.loading().state == "failed"
    assert server.url in service.loading().text
