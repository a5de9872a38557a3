"""Text ↔ token ids and the chat template, both the checkpoint's own."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import tokenizers

from vlm.inputs.template import Template
from vlm.records import InputError

IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"


class Tokenizer:
    """A thin door to the checkpoint's tokenizer files.

    They are read by `tokenizers` itself: importing transformers for it would take as long as importing torch.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        self._tokenizer = _read(folder)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template = Template(folder)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of control tokens: never shown in an answer."""
        return frozenset(self._tokenizer.get_added_tokens_decoder())

    @cached_property
    def special_texts(self) -> frozenset[str]:
        return frozenset(token.content for token in self._tokenizer.get_added_tokens_decoder().values())

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def id_of(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """Text of the ids, control tokens left out; an unfinished character shows as U+FFFD."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def token_text(self, token: int) -> str:
        """One token as a panel shows it: control tokens by name, bytes as far as they are text."""
        return self._tokenizer.decode([token], skip_special_tokens=False)

    def render(self, messages: list[dict], *, generation_prompt: bool = True) -> str:
        """Messages in the content-parts form → prompt text with one placeholder a medium.

        Raises:
            InputError: a text part contains one of the model's control tokens.
        """
        for message in messages:
            self._refuse_control_tokens(message)
        return self._template.render(messages, generation_prompt)

    def _refuse_control_tokens(self, message: dict) -> None:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        for text in (part["text"] for part in parts if "text" in part):
            found = next((token for token in self.special_texts if token in text), None)
            if found:
                raise InputError(
                    f"The text contains {found}, a control token of the model. "
                    "Remove it or put a space inside it."
                )


def _read(folder: Path) -> tokenizers.Tokenizer:
    file = folder / "tokenizer.json"
    if file.is_file():
        try:
            return tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # it raises nothing narrower
            raise InputError(f"the tokenizer of {folder.name} cannot be read: {error}") from error
    from transformers import AutoTokenizer  # older checkpoints have the vocabulary in parts

    try:
        opened = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)  # nosec B615
    except Exception as error:  # whatever a damaged or foreign file makes it raise
        raise InputError(f"the tokenizer of {folder.name} cannot be read: {error}") from error
    return opened.backend_tokenizer
