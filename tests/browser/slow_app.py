"""The app with a model that never ends its answer by itself and takes its time: to stop it half-way."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from ui.build import build, launch
from ui.service import Service

DELAY = 0.1  # seconds a token


def slowed(service: Service) -> Service:
    """The same service, each step slower; control tokens, the end among them, are never chosen."""
    model, step = service.engine.model, service.engine.model.step
    model.config = replace(model.config, tokens=replace(model.config.tokens, eos=()))

    hidden = torch.tensor(sorted(service.engine.tokenizer.special_ids))

    def slow_step(*args, **kwargs):
        time.sleep(DELAY)
        return step(*args, **kwargs).index_fill(-1, hidden, -torch.inf)

    model.step = slow_step
    return service


if __name__ == "__main__":
    name, port = sys.argv[1], int(sys.argv[-1])
    launch(build(slowed(Service.open(name, "cpu"))), "127.0.0.1", port)
