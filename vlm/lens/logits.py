"""The logit lens on vision tokens: the words that a cell is nearest to, from the connector to the last layer.

After "interpreting GPT: the logit lens" (nostalgebraist, 2020): what stands in a token's place after some
layer goes through the final norm and the head, as if the model ended there.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch
from torch import Tensor

from vlm.inputs.tokenizer import Tokenizer
from vlm.lens.replay import replay, row_inputs
from vlm.lens.subject import Subject

Words = list[list[tuple[str, float]]]  # of each row, (text, probability)


@dataclass(frozen=True)
class Nearest:
    """The likeliest words at one stage: ``words[n]`` are those of row n, (text, probability) each."""

    stage: str
    words: Words


@torch.inference_mode()
def nearest_words(
    subject: Subject, rows: Items[int], tokenizer: Tokenizer, count: int = 5, stages: Items[str] = ()
) -> list[Nearest]:
    """The words that tokens are nearest to, stage by stage.

    Args:
        rows: token indices, vision tokens or others; at most `vlm.lens.replay.BLOCK`.
        stages: which ones, by the names that `stage_names` gives; none means all.
    """
    x, deepstack = row_inputs(subject, rows)
    states = {"connector": x}
    taps = deepstack.taps if deepstack is not None and len(deepstack.rows) == len(rows) else ()
    states |= {tap_name(level): tap for level, tap in enumerate(taps)}
    layers: list[Tensor] = []
    replay(subject, rows, states=layers)
    states |= {layer_name(index): state[0] for index, state in enumerate(layers)}
    order = [name for name in stage_names(len(taps), len(layers)) if not stages or name in stages]
    # One product for all: at 2B widths the head's matrix alone is read for 10 ms and more.
    words = _words(subject, torch.cat([states[name] for name in order]), tokenizer, count)
    return [Nearest(name, words[i * len(rows) : (i + 1) * len(rows)]) for i, name in enumerate(order)]


def stage_names(taps: int, layers: int) -> list[str]:
    """In the order of the flow: each tap stands before the layer that it is added after."""
    names = ["connector"]
    for layer in range(layers):
        names += [tap_name(layer)] if layer < taps else []
        names.append(layer_name(layer))
    return names


def layer_name(layer: int) -> str:
    return f"layer {layer + 1}"


def tap_name(level: int) -> str:
    return f"tap {level + 1}"


def _words(subject: Subject, states: Tensor, tokenizer: Tokenizer, count: int) -> Words:
    decoder = subject.model.decoder
    shares = decoder.logits(decoder.norm(states)).float().softmax(-1)
    best = shares.topk(count)
    return [
        [(tokenizer.token_text(token), share) for token, share in zip(tokens, values, strict=True)]
        for tokens, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
