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
HOST = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"  # nosec B104
LOCK = {"on": True, "off": False, "auto": None}


def flag(name: str, help: str, **kwargs):
    """A flag that an environment variable sets too: --max-file-size and GLASSBOX_MAX_FILE_SIZE."""
    variable = "GLASSBOX_" + name.upper().replace("-", "_")
    return typer.Option(f"--{name}", envvar=variable, help=help, **kwargs)


def main(
    model: Annotated[str, flag("model", "'tiny' (embedded), a checkpoint folder or a hub id")] = "tiny",
    quantize: Annotated[str, flag("quantize", "the decoder's weights: auto, none, int8, nf4, int4")] = "auto",
    attention: Annotated[str, flag("attention", "auto, flash, varlen, sdpa or eager")] = "auto",
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
    allowed_hosts: Annotated[
        str, flag("allowed-hosts", "names that the page may be asked for, with commas; none: any")
    ] = "",
    lock_model: Annotated[
        str, flag("lock-model", "on: nobody changes the model; off; auto: on where strangers come in")
    ] = "auto",
    questions: Annotated[
        int | None, flag("questions", "a minute and client; 0: any number; default 20 for strangers", min=0)
    ] = None,
    upload_quota: Annotated[
        str | None, flag("upload-quota", "of each client; 0: any; default 500mb for strangers")
    ] = None,
    keep_hours: Annotated[float, flag("keep-hours", "uploads are deleted when so old", min=0.0001)] = 24,
    grace: Annotated[float, flag("grace", "seconds that running answers get on SIGTERM", min=0)] = 30,
    media_memory: Annotated[str, flag("media-memory", "what reading one file may take")] = "2gb",
    media_seconds: Annotated[int, flag("media-seconds", "how long reading one file may take", min=1)] = 120,
) -> None:
    """Build the page and serve it; the model loads behind it."""
    from ui.startup import few_arenas
    from ui.store import own_folder

    few_arenas()
    own_folder(port)  # before Gradio is imported
    from ui.build import Serving, build, launch
    from ui.clients import bytes_of
    from ui.service import Choice, Reading, Service

    name, _, password = auth.partition(":")
    if auth and not (name and password):
        _end("--auth needs USER:PASSWORD")
    if auth and mcp:
        _end("--mcp does not go with --auth: MCP clients are not asked for a password")
    if lock_model not in LOCK:
        _end("--lock-model is on, off or auto")
    hosts = tuple(host.strip().lower() for host in allowed_hosts.split(",") if host.strip())
    serving = Serving(
        host, port, share, (name, password) if auth else None, queue_size, max_file_size, mcp,
        hosts, LOCK[lock_model], questions, upload_quota, keep_hours, grace,
    )  # fmt: skip
    choice = Choice(model, quantize, attention, device, engine, config or None)
    try:
        reading = Reading(bytes_of(media_memory), media_seconds)
        service = Service(choice=choice, reading=reading, locked=serving.locked)
        launch(build(service, serving), service, serving)
    except (OSError, ValueError, ImportError) as error:
        _end(str(error))


def _end(reason: str) -> None:
    typer.echo(f"glassbox: {reason}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    typer.run(main)
