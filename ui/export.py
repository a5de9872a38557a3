"""A conversation to take away: as data, and as a page that needs no server and no network."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from ui import anatomy, compare, lens, patch_grid, positions, run_panel, tokens
from ui.panel import ASSETS, STYLES, scripts, template
from ui.service import Run
from ui.state import Exchange

PANELS = {
    "Patches": ("patch-grid", "patch_grid", patch_grid),
    "Lens": ("lens", "lens", lens),
    "Positions": ("positions", "positions", positions),
    "Tokens": ("tokens", "tokens", tokens),
    "Anatomy": ("anatomy", "anatomy", anatomy),
    "Compare": ("compare", "compare", compare),
    "Run": ("run", "run", run_panel),
}


def data(exchanges: Items[Exchange]) -> dict:
    """The download of the conversation as JSON: media by name, settings, answers and statistics."""
    return _download("json", "application/json", json.dumps(_plain(exchanges), ensure_ascii=False, indent=2))


def page(
    exchanges: Items[Exchange],
    run_of: Callable[[str], Run | None],
    baked: Callable[[Run], dict] | None = None,
) -> dict:
    """The download of the conversation as one HTML file.

    It carries the panels' own scripts and data, so that their pictures can be looked at as on the page.
    ``baked`` answers what a panel would ask the service.
    """
    runs = [exchange.run_id and run_of(exchange.run_id) for exchange in exchanges]
    turns = [
        turn | {"panels": _panels(run, baked) if run else None}
        for turn, run in zip(_plain(exchanges)["turns"], runs, strict=True)
    ]
    # In a script element only "</" could end the data early.
    written = json.dumps(turns, ensure_ascii=False).replace("</", "<\\/")
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    panels = [
        {
            "name": name,
            "id": id_,
            "template": template(f"{file}.html"),
            "script": scripts(*getattr(module, "SCRIPTS", [f"{file}.js"])),
        }
        for name, (id_, file, module) in PANELS.items()
        if name != "Compare" or any(run and run.sides for run in runs)
    ]
    text = environment.get_template("export.html").render(
        turns=written,
        panels=panels,
        style="".join(path.read_text() for path in STYLES),
        common=(ASSETS / "common.js").read_text(),
        when=f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC".lstrip("0"),
    )
    return _download("html", "text/html", text)


def _panels(run: Run, baked: Callable[[Run], dict] | None) -> dict:
    values = {name: module.render(run) for name, (_, _, module) in PANELS.items()}
    if not run.sides:
        values["Compare"] = {"note": "This turn was not compared with other settings."}
    if baked:
        values["Lens"]["baked"] = values["Anatomy"]["baked"] = baked(run)
    return values


def _plain(exchanges: Items[Exchange]) -> dict:
    turns = [
        {
            "question": exchange.ask.text,
            "media": [Path(file).name for file in exchange.ask.files],
            "settings": asdict(exchange.ask.settings),
            "answer": exchange.answer,
            "finish": exchange.finish,
            "model": exchange.model,
            "statistics": exchange.stats,
        }
        for exchange in exchanges
    ]
    return {"application": "Glassbox VL", "exported": _now(), "turns": turns}


def _download(ending: str, kind: str, text: str) -> dict:
    return {"name": f"glassbox-chat.{ending}", "type": kind, "text": text}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
