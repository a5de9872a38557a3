"""How the app ends: on SIGTERM the answers that are being written are finished first."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress

import gradio as gr

from ui.service import Service

FLUSH = 1.0  # seconds that Gradio takes to send the last words of an answer


def serve_until_told(page: gr.Blocks, service: Service, grace: float) -> None:
    """Block until SIGTERM or Ctrl-C, then close ``page`` and ``service``.

    Args:
        grace: seconds that running answers are given after SIGTERM; Ctrl-C, or a second SIGTERM, gives none.
    """
    told = threading.Event()
    with suppress(ValueError):  # not the main thread: a notebook
        signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        while page.is_running and not told.wait(0.2):
            pass
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        if service.drain(grace):
            time.sleep(FLUSH)
    except KeyboardInterrupt:
        pass
    finally:
        page.server.config.timeout_graceful_shutdown = 1  # second; pages keep streams open that never end
        page.close(verbose=False)
        service.close()
