"""M-RoPE position ids: where each token stands in time, height and width.

Source: Qwen2-VL (arXiv 2409.12191 §2.1) and Qwen's own code. Text advances all three ids together; a
vision block fans out into (t, h, w) from the block's start; what follows starts after the largest id so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from vlm.records import Span


def mrope_positions(
    spans: Iterable[Span], seconds_to_ids: float | None = None, seconds: Sequence[float | None] = ()
) -> tuple[Tensor, int]:
    """Position ids of a whole sequence.

    Args:
        spans: the sequence's spans, in order and without gaps.
        seconds_to_ids: temporal ids per second of video (Qwen2.5-VL's ``tokens_per_second``);
            None: one id a temporal patch.
        seconds: seconds between temporal patches, one entry per medium; read only for videos.

    Returns:
        (3, T) int64 ids and ``rope_delta``: the next id minus the sequence's length.
    """
    parts, start, length = [], 0, 0
    for span in spans:
        if span.cells is None:
            block = torch.arange(len(span)).expand(3, -1)
        else:
            step = 1.0
            if seconds_to_ids is not None and span.kind == "video":
                step = seconds_to_ids * seconds[span.media]
            block = grid_positions(span.cells, step)
        parts.append(block + start)
        start += int(block.max()) + 1
        length += len(span)
    return torch.cat(parts, dim=1), start - length


def grid_positions(cells: tuple[int, int, int], step: float = 1.0) -> Tensor:
    """(3, t * h * w) ids of a merged grid from 0; temporal patch i stands at floor(i * step)."""
    t, h, w = cells
    # float32 as the official code: it lifts 3.9999999999999996, which is 5 × 0.8 from decoded times, to 4.
    times = (torch.arange(t, dtype=torch.float64) * step).float().floor().long()
    return torch.stack(torch.meshgrid(times, torch.arange(h), torch.arange(w), indexing="ij")).flatten(1)
