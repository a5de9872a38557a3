"""A conversation and its settings in the form that OpenAI-compatible servers take."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Items
from dataclasses import fields
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from PIL import Image

from vlm.chat.request import Turn
from vlm.chat.sampling import Sampling
from vlm.records import InputError, Patches

# Which server answers; "other" is known only to follow the protocol.
Kind = Literal["vllm", "sglang", "transformers", "other"]
PROTOCOL = {"max_new_tokens", "temperature", "top_p", "seed", "stop", "presence_penalty", "logprobs"}
EXTRAS = {"top_k", "min_p", "repetition_penalty"}
HEEDED: dict[Kind, set[str]] = {
    "vllm": PROTOCOL | EXTRAS,
    "sglang": (PROTOCOL | EXTRAS) - {"seed"},  # only where it was started with deterministic inference
    "transformers": (PROTOCOL | EXTRAS) - {"presence_penalty", "logprobs"},  # 5.23 reads and drops these
    "other": PROTOCOL,
}
# H.264 close to the original, every frame a key frame
CLIP_OPTIONS = {"crf": "8", "preset": "veryfast", "g": "1"}


def to_links(turns: Items[Turn], known: Mapping[str, str], timed: bool) -> dict[str, str]:
    """A data URI for every medium of the conversation by content hash; those that are ``known`` are kept.

    Media go as the model is to see them: sampled and resized, so that the panels show what is sent.

    Args:
        timed: the model reads the time of each frame, not only how many there are in a second.
    """
    media = {medium.digest: medium for turn in turns for medium in turn.media}
    return {digest: known.get(digest) or _link(medium, timed) for digest, medium in media.items()}


def to_body(
    turns: Items[Turn],
    sampling: Sampling,
    kind: Kind,
    room: int,
    eos: Items[int],
    links: Mapping[str, str],
) -> dict:
    """The arguments of a streaming chat completion, all but the model's name.

    Args:
        room: tokens that the context has left for the answer.
        eos: ids that end an answer, for servers that must be told.
        links: see `to_links`.

    Raises:
        InputError: a clip, for a server that takes none.
    """
    clips = any(medium.kind == "video" for turn in turns for medium in turn.media)
    if clips and kind == "transformers":
        raise InputError(
            "transformers serve takes no clips in a request: serve the model with vLLM or SGLang, "
            "send pictures, or clear the chat."
        )
    extra = _extra(sampling, kind, eos)
    if clips and kind == "vllm":
        extra["media_io_kwargs"] = {"video": {"num_frames": -1}}  # all frames that were sent, not 32
    return {
        "messages": list(_messages(turns, links)),
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": min(sampling.max_new_tokens, room),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        **_only_set(
            seed=sampling.seed,
            # transformers serve 5.23 fails on stop strings of a model with a processor; we cut there anyway
            stop=list(sampling.stop) if kind != "transformers" else (),
            presence_penalty=sampling.presence_penalty,
            logprobs=sampling.logprobs,
        ),
        "extra_body": extra,
    }


def not_heeded(sampling: Sampling, kind: Kind) -> list[str]:
    """Settings that were asked for and that such a server does not take."""
    changed = {field.name for field in fields(sampling) if getattr(sampling, field.name) != field.default}
    return sorted(changed - HEEDED[kind])


def _only_set(**values) -> dict:
    return {name: value for name, value in values.items() if value or (name == "seed" and value is not None)}


def _extra(sampling: Sampling, kind: Kind, eos: Items[int]) -> dict:
    """What goes beside the protocol. Neutral values go too: servers have the checkpoint's defaults else."""
    if kind == "other":
        return {}
    more = {"min_p": sampling.min_p, "repetition_penalty": sampling.repetition_penalty}
    if kind != "transformers":
        return {"top_k": sampling.top_k or -1, **more}
    greedy = sampling.temperature == 0
    chosen = {"temperature": sampling.temperature, "top_k": sampling.top_k or 0, "top_p": sampling.top_p}
    config = {"repetition_penalty": sampling.repetition_penalty} if greedy else chosen | more
    ends = {"eos_token_id": list(eos), "pad_token_id": eos[0]} if eos else {}
    return {"generation_config": json.dumps({"do_sample": not greedy, **config, **ends})}


def _messages(turns: Items[Turn], links: Mapping[str, str]) -> Iterator[dict]:
    for number, turn in enumerate(turns, 1):
        parts = [_part(f"{medium.kind}_url", links[medium.digest]) for medium in turn.media]
        yield {"role": "user", "content": [*parts, {"type": "text", "text": turn.text}]}
        if number < len(turns):
            yield {"role": "assistant", "content": turn.answer}


def _part(kind: str, url: str) -> dict:
    return {"type": kind, kind: {"url": url}}


def _link(medium: Patches, timed: bool) -> str:
    image = medium.kind == "image"
    mime, content = ("image/png", _png(medium.resized[0])) if image else ("video/mp4", _mp4(medium, timed))
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def _png(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 → a PNG; packed quickly, for it lives only on the way."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _mp4(clip: Patches, timed: bool) -> bytes:
    """The sampled frames as H.264, evenly spaced; the first one is at 0 s."""
    file = io.BytesIO()
    _, height, width, _ = clip.resized.shape
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_rate(clip, timed), options=CLIP_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in clip.resized:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _rate(clip: Patches, timed: bool) -> Fraction:
    """Frames a second: as they lie in the clip, or as the family counts them, which differs a little."""
    times = clip.frame_timestamps
    spread = times[-1] - times[0] if times else 0.0
    true = (len(times) - 1) / spread if spread else 1.0
    return Fraction(true if timed else clip.sampled_fps or true).limit_denominator(1000)
