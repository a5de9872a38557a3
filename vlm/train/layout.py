"""Where the tokens of a batch lie: prefixes end to end, then branches filled with runs of tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vlm.models.branches import Branches

# Lengths and the number of branches are rounded up. Each new shape of a product costs a kernel of its own,
# which is built, kept and never used again: that was half of the time and 0.2 GB a minute.
PREFIX, BRANCH, COUNT = 16, 32, 16
Prefix = tuple[tuple[int, ...], Tensor, Tensor]  # ids, positions (3, T'), columns of the vision tokens


@dataclass
class Run:
    """A segment as tokens: its sample and number, its first position, and whether it is blind."""

    where: tuple[int, int]
    first: int
    blind: bool
    ids: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    answers: list[tuple[str, int, int]] = field(default_factory=list)


def round_up(length: int, unit: int, least: int = 1) -> int:
    return max(least, -(-length // unit)) * unit


def fill(runs: list[Run], length: int) -> list[list[Run]]:
    """Runs into branches of ``length`` tokens, each of one sample: the longest first, where it fits."""
    branches: list[list[Run]] = []
    room: list[int] = []
    for run in sorted(runs, key=lambda run: -len(run.ids)):
        fits = (
            index for index, branch in enumerate(branches)
            if room[index] >= len(run.ids) and branch[0].where[0] == run.where[0]
        )  # fmt: skip
        index = next(fits, None)
        if index is None:
            index = len(branches)
            branches.append([])
            room.append(length)
        branches[index].append(run)
        room[index] -= len(run.ids)
    return branches + [[] for _ in range(-len(branches) % COUNT)]


def lay(prefixes, branches, width: int, length: int, value: int, of_run, of_prefix) -> Tensor:
    """(T,) one list of tokens: prefixes and branches, each padded with ``value``."""
    whole: list[int] = []
    for prefix in prefixes:
        part = of_prefix(prefix)
        whole += [*part, *[value] * (width - len(part))]
    for branch in branches:
        part = [token for run in branch for token in of_run(run)]
        whole += part + [value] * (length - len(part))
    return torch.tensor(whole)


def place(prefixes, branches, width: int, length: int) -> Tensor:
    """(3, T) M-RoPE ids; a branch's runs each start behind the prefix."""
    cut = len(prefixes) * width
    positions = torch.zeros(3, cut + len(branches) * length, dtype=torch.long)
    for index, prefix in enumerate(prefixes):
        positions[:, index * width : index * width + len(prefix[0])] = prefix[1]
    ramps = [[run.first + i for run in branch for i in range(len(run.ids))] for branch in branches]
    flat = [place for ramp in ramps for place in ramp + [0] * (length - len(ramp))]
    positions[:, cut:] = torch.tensor(flat, dtype=torch.long)
    return positions


def branch_layout(prefixes, branches, width: int, length: int) -> Branches:
    """Who may look where: a run sees itself up to each token and its prefix, a blind one only its opening."""
    own = np.full((len(branches), length), -1)
    sees = np.zeros((len(branches), length), int)  # how many tokens of the prefix
    for index, branch in enumerate(branches):
        sizes = [len(run.ids) for run in branch]
        seen = [3 if run.blind else len(prefixes[run.where[0]][0]) for run in branch]  # <|im_start|> user \n
        own[index, : sum(sizes)] = np.repeat(np.arange(len(branch)), sizes)
        sees[index, : sum(sizes)] = np.repeat(seen, sizes)
    before = np.arange(width) < sees[:, :, None]
    inside = (own[:, :, None] == own[:, None, :]) & np.tri(length, dtype=bool)
    mask = torch.from_numpy(np.concatenate((before, inside), axis=2))[:, None]
    owner = torch.tensor([branch[0].where[0] if branch else 0 for branch in branches], dtype=torch.long)
    return Branches((len(prefixes), width), owner, mask)
