"""How fast this machine is with the model in use, learnt from the turns it has run."""

from __future__ import annotations

from dataclasses import dataclass

SHARE = 0.5  # of the newest turn in what is remembered: machines get busy and idle again


@dataclass
class Pace:
    """Milliseconds a patch in the tower and a token in the decoder's first pass; None: not known yet."""

    patch_ms: float | None = None
    token_ms: float | None = None

    @classmethod
    def of(cls, stats: dict) -> Pace:
        pace = cls()
        pace.learn(stats)
        return pace

    def learn(self, stats: dict) -> None:
        """Take in the statistics of a turn; what a turn did not do tells nothing."""
        if stats.get("patches") and stats.get("encode_ms"):
            self.patch_ms = _mix(self.patch_ms, stats["encode_ms"] / stats["patches"])
        if stats.get("computed_tokens") and stats.get("prefill_ms"):
            self.token_ms = _mix(self.token_ms, stats["prefill_ms"] / stats["computed_tokens"])

    def seconds(self, patches: int, tokens: int) -> float | None:
        """To the first word, for that many new patches and tokens; attention makes long prompts slower."""
        if self.token_ms is None or (patches and self.patch_ms is None):
            return None
        return (patches * (self.patch_ms or 0) + tokens * self.token_ms) / 1000


def _mix(old: float | None, new: float) -> float:
    return new if old is None else (1 - SHARE) * old + SHARE * new
