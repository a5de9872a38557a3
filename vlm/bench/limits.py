"""How fast this machine can read memory and multiply: what no program on it can beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vlm.bench.rows import alternate
from vlm.native.vector import matrix_vector

SIZE = 2**29  # bytes read at a time: more than any cache holds
EDGE = 4096  # of the square matrices


@dataclass(frozen=True)
class Limits:
    """Bytes a millisecond from memory, and operations a millisecond of a product in bfloat16."""

    bandwidth: float
    products: float

    def facts(self) -> dict:
        return {"read_gb_s": round(self.bandwidth / 1e6, 1), "gflop_s": round(self.products / 1e6)}

    def reading(self, nbytes: float) -> float:
        """Milliseconds to read so many bytes once."""
        return nbytes / self.bandwidth

    def multiplying(self, rows: float, weights: float) -> float:
        """Milliseconds to take so many rows through matrices of so many weights in all."""
        return 2 * rows * weights / self.products


def measure(device: str, quick: bool) -> Limits:
    """The best of many runs of each: a moment in which others work too would make the limit too low."""
    runs, size, edge = (10, SIZE // 2, EDGE // 2) if quick else (20, SIZE, EDGE)
    block = torch.ones(size // 2, dtype=torch.bfloat16, device=device)
    matrix = torch.randn(edge, edge, device=device).bfloat16()
    vector = torch.ones(4096, dtype=torch.bfloat16, device=device)

    product = matrix_vector if block.device.type == "cpu" else torch.mv

    def read() -> None:  # a matrix times a vector reads faster than a sum, which has to convert first
        product(block.view(-1, 4096), vector).sum().item()

    def multiply() -> None:
        (matrix @ matrix)[0, 0].item()

    with torch.inference_mode():
        reading, multiplying = alternate(runs, read, multiply)
    return Limits(size / min(reading), 2 * edge**3 / min(multiplying))
