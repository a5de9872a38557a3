"""Vision-language models in plain PyTorch, with every step on show.

The flow, from a file to an answer::

    frames   = read_media(file, config.pixels)          # decode, sample, upright, RGB
    patches  = to_patches(frames, config.pixels)        # resize, normalise, cut
    vision   = model.encode([patches])                  # tower → connector: features and DeepStack taps
    sequence = build_sequence(messages, [patches], …)   # token ids, spans, (t, h, w) positions
    cache    = model.new_cache()
    hidden   = model(sequence, vision, cache)           # prefill
    steps    = generate(…)                              # decode: one Step a token

`vlm.chat.session.ChatSession` does all of this for a conversation; ``python -m vlm`` from a shell.
"""

import os

# Before PyTorch is there: its threads spin while they wait for each other, which on a machine with other work
# made the embedded model a hundred times slower (docs/decisions.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from vlm.families.checkpoint import open_checkpoint as load
from vlm.families.checkpoint import save_checkpoint as save

__all__ = ["load", "save"]
