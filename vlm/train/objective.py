"""What training minimises: the answers' tokens, and at first the truth of every merged cell."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlm.models.decoder import DeepStack
from vlm.models.model import VisionLanguageModel
from vlm.train.cells import CHANGES, SIGHTS, UNASKED
from vlm.train.pack import IGNORE, Batch


class CellHeads(nn.Module):
    """Linear probes on the vision tokens; thrown away after training.

    Some look at what the tower and connector give, those of `CHANGES` at the vision tokens' states in the
    middle of the decoder: only there has a cell of a clip seen the frames before it.
    """

    def __init__(self, width: int):
        super().__init__()
        # One class more: the background.
        self.classes = nn.ModuleDict({name: nn.Linear(width, n + 1) for name, n in SIGHTS.items()})
        self.centre = nn.Linear(width, 2)
        self.changes = nn.ModuleDict({name: nn.Linear(width, n) for name, n in CHANGES.items()})

    def forward(self, features: Tensor, states: Tensor, cells: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss a head, from (V, D) features and decoder states, and the truth of `vlm.train.cells`."""
        losses = {
            name: F.cross_entropy(head(features).float(), cells[name] % (head.out_features))
            for name, head in self.classes.items()
        }
        owned = (cells["shape"] >= 0)[:, None]
        centre = torch.stack((cells["x"], cells["y"]), dim=-1)
        missed = (self.centre(features).float() - centre).abs() * owned
        losses["centre"] = missed.sum() / (2 * owned.sum()).clamp(min=1)  # 0 where every cell is background
        if (cells["deed"] != UNASKED).any():
            states = F.rms_norm(states, states.shape[-1:])
            for name, head in self.changes.items():
                losses[name] = F.cross_entropy(head(states).float(), cells[name], ignore_index=UNASKED)
        return losses


def see(model: VisionLanguageModel, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Vision features and taps, each (V, D), of all pictures of a batch."""
    if not batch.grids:
        return torch.empty(0, model.decoder.config.hidden_size, dtype=model.dtype, device=model.device), ()
    return model.connector(*model.tower(batch.pixels, batch.grids, model.backend))


def answer_logits(
    model: VisionLanguageModel,
    batch: Batch,
    features: Tensor,
    taps: tuple[Tensor, ...],
    states: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits (N, vocabulary) and targets (N,) at every answer token of a batch.

    ``states`` gets what each decoder layer gives out, (1, T, D) each.
    """
    embeds = model.decoder.embed_tokens(batch.ids)  # (T, D)
    embeds = embeds.index_copy(0, batch.vision_rows, features.to(embeds.dtype))
    hidden = model.decoder(
        embeds[None],
        batch.positions[:, None],
        mask=batch.layout,
        deepstack=DeepStack(batch.vision_rows, taps),
        backend=model.backend,
        states=states,
    )
    asked = batch.targets != IGNORE
    answers = hidden[0, asked]
    # Padded to few different sizes, see `pack`.
    padded = F.pad(answers, (0, 0, 0, -len(answers) % 256))
    return model.decoder.logits(padded)[: len(answers)], batch.targets[asked]


def losses(model: VisionLanguageModel, heads: CellHeads | None, batch: Batch) -> dict[str, Tensor]:
    """Named losses of one batch: ``answers`` and, where there are heads, one a cell head."""
    features, taps = see(model, batch)
    states: list[Tensor] = []
    logits, targets = answer_logits(model, batch, features, taps, states)
    each = F.cross_entropy(logits.float(), targets, reduction="none")
    weights = _weights(batch, each)
    answers = (each * weights).sum() / weights.sum()
    if heads is None:
        return {"answers": answers}
    middle = states[len(states) // 2 - 1][0, batch.vision_rows]
    return {"answers": answers, **heads(features, middle, batch.cells)}


def _weights(batch: Batch, like: Tensor) -> Tensor:
    """A token weighs 1 / √(length of its answer): captions must not drown one-word answers.

    As InternVL 2.5 does (arXiv 2412.05271, "square averaging").
    """
    lengths = torch.tensor([answer.stop - answer.start for answer in batch.answers], device=like.device)
    return lengths.rsqrt().repeat_interleave(lengths)
