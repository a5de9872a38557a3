"""Glassbox VL: chat with a vision-language model and see what it sees."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def main(
    model: Annotated[str, typer.Option(help="'tiny' (embedded), a checkpoint folder or a hub id")] = "tiny",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "auto",
    host: Annotated[str, typer.Option(help="where to listen; 0.0.0.0 lets other machines in")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on")] = 7860,
) -> None:
    """Load a model, build the page and serve it."""
    from ui.build import build, launch
    from ui.service import Service
    from vlm.records import InputError

    try:
        service = Service.open(model, device)
        launch(build(service), host, port)
    except (InputError, OSError) as error:
        typer.echo(f"glassbox: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    typer.run(main)
