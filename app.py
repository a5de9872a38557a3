"""Glassbox VL: chat with a vision-language model and see what it sees."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

if os.environ.get("SPACES_ZERO_GPU"):
    with suppress(ImportError):
        import spaces  # noqa: F401  (must come before torch)

# On a Space the page is reached through its proxy.
HOST = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"


def flag(name: str, help: str, **kwargs):
    """A flag that an environment variable sets too: --max-file-size and GLASSBOX_MAX_FILE_SIZE."""
    variable = "GLASSBOX_" + name.upper().replace("-", "_")
    return typer.Option(f"--{name}", envvar=variable, help=help, **kwargs)


def main(
    model: Annotated[str, flag("model", "'tiny' (embedded), a checkpoint folder or a hub id")] = "tiny",
    quantize: Annotated[str, flag("quantize", "the decoder's weights: auto, none, int8, nf4, int4")] = "auto",
    attention: Annotated[str, flag("attention", "auto, flash, sdpa or eager")] = "auto",
    device: Annotated[str, flag("device", "auto, cpu or cuda")] = "auto",
    engine: Annotated[str, flag("engine", "local, or the address of an OpenAI-compatible server")] = "local",
    config: Annotated[
        str, flag("config", "with --engine: the model's config and tokenizer, if not --model's")
    ] = "",
    host: Annotated[str, flag("host", "where to listen; 0.0.0.0 lets other machines in")] = HOST,
    port: Annotated[int, flag("port", "port to listen on", min=1, max=65535)] = 7860,
    share: Annotated[bool, flag("share", "also give a public link through Gradio's servers")] = False,
    auth: Annotated[str, flag("auth", "USER:PASSWORD that the page asks for")] = "",
    queue_size: Annotated[int, flag("queue-size", "questions that may wait at once", min=1)] = 32,
    max_file_size: Annotated[str, flag("max-file-size", "largest upload, such as 100mb")] = "100mb",
    mcp: Annotated[bool, flag("mcp", "also serve MCP clients; needs gradio[mcp]")] = False,
) -> None:
    """Build the page and serve it; the model loads behind it."""
    from ui.build import Serving, build, launch
    from ui.service import Choice, Service

    name, _, password = auth.partition(":")
    if auth and not (name and password):
        _end("--auth needs USER:PASSWORD")
    serving = Serving(host, port, share, (name, password) if auth else None, queue_size, max_file_size, mcp)
    service = Service(choice=Choice(model, quantize, attention, device, engine, config or None))
    try:
        launch(build(service, serving), service, serving)
    except (OSError, ValueError, ImportError) as error:
        _end(str(error))


def _end(reason: str) -> None:
    typer.echo(f"glassbox: {reason}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    typer.run(main)
