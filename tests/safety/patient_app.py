"""The app with a slow model that never ends by itself; the first argument is the grace that SIGTERM gives."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "browser")]

from slow_app import slowed  # noqa: E402

from ui.build import build, launch  # noqa: E402
from ui.service import Choice, Service, backend  # noqa: E402
from ui.serving import Serving  # noqa: E402

if __name__ == "__main__":
    open_engine = backend.open_engine
    backend.open_engine = lambda choice: slowed(open_engine(choice))
    serving = Serving(port=int(sys.argv[-1]), grace=float(sys.argv[1]))
    service = Service(choice=Choice("tiny", device="cpu"))
    launch(build(service, serving), service, serving)
