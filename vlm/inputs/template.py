"""The chat template of a checkpoint: messages → prompt text, in a sandbox."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cached_property
from pathlib import Path

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vlm.records import InputError


class Template:
    """The template of a checkpoint folder; it is compiled when it is first needed."""

    def __init__(self, folder: Path):
        self._folder = folder

    def render(self, messages: list[dict], generation_prompt: bool) -> str:
        """Prompt text.

        Raises:
            InputError: the checkpoint has no template.
        """
        return self._compiled.render(
            messages=messages, add_generation_prompt=generation_prompt, tools=None, documents=None,
            **self._special_tokens,
        )  # fmt: skip

    @cached_property
    def _compiled(self):
        try:
            return _environment().from_string(self._source())
        except TemplateError as error:
            raise InputError(f"the chat template of {self._folder.name} cannot be read: {error}") from error

    @cached_property
    def _config(self) -> dict:
        return _read_json(self._folder / "tokenizer_config.json")

    @cached_property
    def _special_tokens(self) -> dict[str, str]:
        """``bos_token``, ``eos_token`` and so on: templates may use their names."""
        named = {name: token for name, token in self._config.items() if name.endswith("_token")}
        texts = {
            name: token["content"] if isinstance(token, dict) else token for name, token in named.items()
        }
        return {name: text for name, text in texts.items() if isinstance(text, str)}

    def _source(self) -> str:
        """Where a template may lie, the newest layout first."""
        file = self._folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        for config in (_read_json(self._folder / "chat_template.json"), self._config):
            found = config.get("chat_template")
            if isinstance(found, list):  # several by name
                found = {entry["name"]: entry["template"] for entry in found}.get("default")
            if found:
                return found
        raise InputError(f"{self._folder.name} has no chat template: add chat_template.jinja to the folder")


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training; for a prompt it changes nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """What templates on the hub may rely on (https://huggingface.co/docs/transformers/chat_templating)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"{path.name} is not valid JSON: {error}") from error
