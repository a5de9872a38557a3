"""Tower and decoder by themselves, against transformers' around the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from vlm.bench.limits import Limits
from vlm.bench.models import random_model
from vlm.bench.reference import reference_model
from vlm.bench.rows import Row, alternate, faster
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.model import VisionLanguageModel

CONTEXT, CHUNK = 1024, 64  # tokens that lie in the cache, and that come on top
PICTURE, SMALL = (768, 1024), (384, 512)  # height and width in pixels


@dataclass
class Pair:
    """One preset with random weights, as ours and as transformers', both on the same memory."""

    preset: str
    layers: int | None
    device: str
    limits: Limits

    @cached_property
    def _made(self) -> tuple[VisionLanguageModel, Tokenizer]:
        return random_model(self.preset, layers=self.layers, device=self.device)

    @property
    def ours(self) -> VisionLanguageModel:
        return self._made[0]

    @property
    def tokenizer(self) -> Tokenizer:
        return self._made[1]

    @cached_property
    def reference(self) -> nn.Module:
        return reference_model(self.ours, self.preset, self.layers)

    @property
    def what(self) -> str:
        return f"{self.preset} widths" + (f", {self.layers} layers" if self.layers else "")

    @cached_property
    def layer_weights(self) -> int:
        """Weights of the decoder's matrices."""
        return sum(p.numel() for p in self.ours.decoder.layers.parameters() if p.dim() > 1)

    @cached_property
    def head_weights(self) -> int:
        return self.ours.config.decoder.vocab_size * self.ours.config.decoder.hidden_size


def vision(pair: Pair, name: str, runs: int, picture: tuple[int, int] = PICTURE) -> Row:
    """One picture through the tower and the connector."""
    config = pair.ours.config.vision
    h, w = (edge // (2 * config.patch_size) * 2 for edge in picture)
    pixels = torch.randn(h * w, config.patch_dim, device=pair.device).bfloat16()
    grid = torch.tensor([[1, h, w]], device=pair.device)
    ours, reference = alternate(
        runs,
        _quiet(lambda: pair.ours.connector(*pair.ours.tower(pixels, ((1, h, w),), pair.ours.backend))),
        _quiet(lambda: pair.reference.model.visual(pixels, grid_thw=grid)),
    )
    weights = sum(p.numel() for p in pair.ours.tower.blocks.parameters() if p.dim() > 1)
    limit = pair.limits.multiplying(h * w, weights)
    note = f"{pair.what}; {h * w:,} patches; limit: products of the matrices alone"
    return faster(name, ours, reference, note=note, limit=limit)


def prefill(pair: Pair, runs: int) -> Row:
    from transformers import DynamicCache

    x, positions = _inputs(pair, 0, CONTEXT)
    ours, reference = alternate(
        runs,
        _quiet(lambda: _our_logits(pair, x, positions, pair.ours.new_cache(CONTEXT))),
        _quiet(lambda: _their_logits(pair, x, positions, DynamicCache())),
    )
    limit = pair.limits.multiplying(CONTEXT, pair.layer_weights) + pair.limits.reading(2 * pair.head_weights)
    note = f"{pair.what}; {CONTEXT:,} tokens; limit: products of the matrices alone"
    return faster("prefill", ours, reference, note=note, limit=limit)


def append(pair: Pair, runs: int) -> Row:
    ours, reference = _on_cache(pair, CHUNK, runs)
    reading = pair.limits.reading(2 * pair.layer_weights)
    limit = max(reading, pair.limits.multiplying(CHUNK, pair.layer_weights))
    note = f"{pair.what}; {CHUNK} tokens on {CONTEXT:,}; limit: the slower of reading and multiplying"
    return faster(
        "append", ours, reference, note=note, limit=limit + pair.limits.reading(2 * pair.head_weights)
    )


def decode(pair: Pair, runs: int, context: int = CONTEXT, name: str = "decode") -> Row:
    ours, reference = _on_cache(pair, 1, runs, context)
    cache = pair.ours.config.decoder.cache_bytes(context, 2)
    limit = pair.limits.reading(2 * (pair.layer_weights + pair.head_weights) + cache)
    note = f"{pair.what}; one token on {context:,}; limit: reading weights and keys once"
    return faster(name, ours, reference, note=note, limit=limit)


def against_vision_tokens(pair: Pair, counts: Iterable[int], largest_reference: int, runs: int) -> list[Row]:
    """Tower time against the number of vision tokens, each a square picture."""
    rows = []
    for count in counts:
        edge = 2 * round(count**0.5)
        pixels = torch.randn(edge**2, pair.ours.config.vision.patch_dim, device=pair.device).bfloat16()
        grid = torch.tensor([[1, edge, edge]], device=pair.device)
        sides = [_quiet(_tower_call(pair, pixels, ((1, edge, edge),)))]
        if count <= largest_reference:
            sides.append(_quiet(_reference_call(pair, pixels, grid)))
        times = alternate(1 if count > 1024 else runs, *sides)
        note = f"{pair.what}; {edge**2:,} patches in one picture"
        rows.append(faster(f"vision_tokens_{count}", *times, note=note))
    return rows


def against_frames(pair: Pair, counts: Iterable[int], runs: int) -> list[Row]:
    """Tower time against the number of frames, each 384 × 288."""
    rows = []
    for count in counts:
        grid = (count // 2, 18, 24)
        pixels = torch.randn(count // 2 * 18 * 24, pair.ours.config.vision.patch_dim).bfloat16()
        pixels, theirs = pixels.to(pair.device), torch.tensor([grid], device=pair.device)
        times = alternate(
            runs, _quiet(_tower_call(pair, pixels, (grid,))), _quiet(_reference_call(pair, pixels, theirs))
        )
        rows.append(faster(f"frames_{count}", *times, note=f"{pair.what}; {len(pixels):,} patches"))
    return rows


def against_cache_length(pair: Pair, lengths: Iterable[int], runs: int) -> list[Row]:
    return [decode(pair, runs, length, f"cache_{length}") for length in lengths]


def _tower_call(pair: Pair, pixels: Tensor, grids: tuple) -> Callable[[], object]:
    return lambda: pair.ours.connector(*pair.ours.tower(pixels, grids, pair.ours.backend))


def _reference_call(pair: Pair, pixels: Tensor, grid: Tensor) -> Callable[[], object]:
    return lambda: pair.reference.model.visual(pixels, grid_thw=grid)


def _on_cache(pair: Pair, count: int, runs: int, context: int = CONTEXT) -> list[list[float]]:
    """Milliseconds of ``count`` tokens on a filled cache, which is cut back after each."""
    from transformers import DynamicCache

    x, positions = _inputs(pair, 0, context)
    mine, theirs = pair.ours.new_cache(context + count), DynamicCache()
    with torch.inference_mode():
        _our_logits(pair, x, positions, mine)
    with torch.no_grad():
        _their_logits(pair, x, positions, theirs)
    x, positions = _inputs(pair, context, count)

    def ours() -> None:
        _our_logits(pair, x, positions, mine)
        mine.crop(context)

    def reference() -> None:
        _their_logits(pair, x, positions, theirs)
        theirs.crop(-count)

    return alternate(runs, _quiet(ours), _quiet(reference))


def _inputs(pair: Pair, start: int, count: int) -> tuple[Tensor, Tensor]:
    width = pair.ours.config.decoder.hidden_size
    x = 0.02 * torch.randn(1, count, width, generator=torch.Generator().manual_seed(start))
    positions = torch.arange(start, start + count).expand(3, 1, count).contiguous()
    return x.bfloat16().to(pair.device), positions.to(pair.device)


def _our_logits(pair: Pair, x: Tensor, positions: Tensor, cache) -> Tensor:
    hidden = pair.ours.decoder(x, positions, cache=cache, backend=pair.ours.backend)
    return pair.ours.decoder.logits(hidden[0, -1:])


def _their_logits(pair: Pair, x: Tensor, positions: Tensor, cache) -> Tensor:
    """As its own ``forward`` does, which keeps the last token's hidden state before the head."""
    language = pair.reference.model.language_model
    out = language(inputs_embeds=x, position_ids=positions, past_key_values=cache, use_cache=True)
    return pair.reference.lm_head(out.last_hidden_state[:, -1:])


def _quiet(call: Callable[[], object]) -> Callable[[], None]:
    """Without gradients, and waited for on a GPU."""

    @torch.no_grad()
    def run() -> None:
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run
