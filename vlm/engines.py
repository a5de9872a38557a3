"""A model by name, here or on another machine, as an engine for chats."""

from __future__ import annotations

import os
from pathlib import Path

from vlm.chat.engine import Engine
from vlm.chat.remote import RemoteEngine
from vlm.families.checkpoint import open_checkpoint, open_config
from vlm.records import InputError


def open_engine(
    model: str = "tiny",
    *,
    engine: str | None = None,
    config: str | Path | None = None,
    api_key: str | None = None,
    timeout: float = 300.0,
    **loading: str,
) -> Engine | RemoteEngine:
    """Load a model, or connect to a server that has done so.

    Args:
        model: ``tiny``, a checkpoint folder or a hub id; with ``engine``, what the server calls it.
        engine: address of an OpenAI-compatible server, such as ``http://localhost:8000/v1``.
        config: where the served model's config and tokenizer are, if ``model`` does not lead there.
        api_key: the server's key; else that of the environment's OPENAI_API_KEY.
        timeout: seconds that the server may be silent.
        loading: how to load the weights, see `open_checkpoint`; only without ``engine``.

    Raises:
        InputError: no such model, no such server, or settings that do not go together.
    """
    if engine is None:
        if config or api_key:
            raise InputError("--config and --api-key go with --engine: give the server's address")
        opened = open_checkpoint(model, **{"dtype": "fast", **loading})
        choice = {"quantize": opened.quantize, "quantize_reason": opened.quantize_reason}
        return Engine(opened.model, opened.tokenizer, opened.name, **choice)
    chosen = [name for name, value in loading.items() if value != "auto"]
    if chosen:
        raise InputError(f"--{chosen[0]} is the server's to choose: leave it out beside --engine")
    return _connect(model, engine, config or model, api_key, timeout)


def _connect(
    model: str, engine: str, source: str | Path, api_key: str | None, timeout: float
) -> RemoteEngine:
    help_ = "give --config FOLDER with the served model's config and tokenizer"
    try:
        config, tokenizer = open_config(source)
    except InputError as error:
        raise InputError(f"{error}; or {help_}") from error
    if tokenizer is None:
        raise InputError(f"{source} comes without a tokenizer: {help_}")
    key = api_key or os.environ.get("OPENAI_API_KEY") or None
    return RemoteEngine(config, tokenizer, model, engine, api_key=key, timeout=timeout)
