"""The app with a model that never ends its answer by itself and takes its time: to stop it half-way."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from ui.build import Serving, build, launch
from ui.service import Choice, Service, backend

DELAY = 0.1  # seconds a token


def slowed(engine):
    """The same engine, each step slower; control tokens, the end among them, are never chosen."""
    model, step = engine.model, engine.model.step
    model.config = replace(model.config, tokens=replace(model.config.tokens, eos=()))
    hidden = torch.tensor(sorted(engine.tokenizer.special_ids))

    def slow_step(*args, **kwargs):
        time.sleep(DELAY)
        return step(*args, **kwargs).index_fill(-1, hidden, -torch.inf)

    model.step = slow_step
    return engine


if __name__ == "__main__":
    name, port = sys.argv[1], int(sys.argv[-1])
    open_engine = backend.open_engine
    backend.open_engine = lambda choice: slowed(open_engine(choice))
    service, serving = Service(choice=Choice(name, device="cpu")), Serving(port=port)
    launch(build(service, serving), service, serving)
