"""Glassbox VL: chat with a vision-language model and see what it sees."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def option(name: str, help: str):
    """A flag that an environment variable can set too: --max-file-size and GLASSBOX_MAX_FILE_SIZE."""
    variable = "GLASSBOX_" + name.upper().replace("-", "_")
    return typer.Option(f"--{name}", envvar=variable, help=help)


def main(
    model: Annotated[str, option("model", "'tiny' (embedded), a checkpoint folder or a hub id")] = "tiny",
    quantize: Annotated[str, option("quantize", "weights: auto, none, int8 or nf4")] = "auto",
    attention: Annotated[str, option("attention", "auto, flash, sdpa or eager")] = "auto",
    device: Annotated[str, option("device", "auto, cpu or cuda")] = "auto",
    engine: Annotated[
        str, option("engine", "local, or the address of an OpenAI-compatible server")
    ] = "local",
    host: Annotated[str, option("host", "where to listen; 0.0.0.0 lets other machines in")] = "127.0.0.1",
    port: Annotated[int, option("port", "port to listen on")] = 7860,
    share: Annotated[
        bool, typer.Option("--share", envvar="GLASSBOX_SHARE", help="a public link through Gradio's servers")
    ] = False,
    auth: Annotated[str, option("auth", "USER:PASSWORD that the page asks for")] = "",
    queue_size: Annotated[int, option("queue-size", "questions that may wait at once")] = 32,
    max_file_size: Annotated[str, option("max-file-size", "largest upload, such as 100mb")] = "100mb",
    mcp: Annotated[
        bool, typer.Option("--mcp", envvar="GLASSBOX_MCP", help="also serve MCP clients (needs gradio[mcp])")
    ] = False,
) -> None:
    """Build the page and serve it; the model loads behind it."""
    from ui.build import Serving, build, launch
    from ui.service import Choice, Service

    name, _, password = auth.partition(":")
    if auth and not (name and password):
        _end("--auth needs USER:PASSWORD")
    serving = Serving(host, port, share, (name, password) if auth else None, queue_size, max_file_size, mcp)
    service = Service(choice=Choice(model, quantize, attention, device, engine))
    try:
        launch(build(service, serving), service, serving)
    except (OSError, ImportError) as error:
        _end(str(error))


def _end(reason: str) -> None:
    typer.echo(f"glassbox: {reason}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    typer.run(main)
