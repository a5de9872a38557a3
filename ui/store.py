"""What visitors leave: the folder of uploads, and the state of pages that were closed; both are swept."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradio.state_holder import StateHolder

VARIABLE = "GRADIO_TEMP_DIR"
CLOSED = 3600.0  # seconds that a closed page's chat is kept, in case its connection only broke


def own_folder(port: int) -> Path:
    """Make Gradio keep files in a folder that nobody else reads, unless the environment names one.

    It is emptied first, for a process that was killed leaves its uploads behind.
    """
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    folder = Path(tempfile.gettempdir()) / f"glassbox-{os.getuid()}-{port}"
    try:
        if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.getuid()):
            raise OSError("another person's")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="glassbox-"))
    os.environ[VARIABLE] = str(folder)
    return folder


def let_go(holder: StateHolder, seconds: float) -> None:
    """Forget pages that were closed and not used for ``seconds``.

    Gradio deletes their chats after an hour, but keeps a copy of the page's configuration, 0.15 MB, for
    each of the last ten thousand visitors.
    """
    for name, session in list(holder.session_data.items()):
        used = holder.time_last_used.get(name)
        if session.is_closed and used and (datetime.now() - used).total_seconds() > seconds:
            holder.delete_state(name)
            holder.session_data.pop(name, None)
            holder.time_last_used.pop(name, None)


class Sweeper:
    """Deletes what Gradio leaves behind, such as uploads that broke off, once it is old.

    Args:
        folder: of the uploads. What is in it at the start is the page's own and stays.
        keep_seconds: the age from which a file goes, and a closed page's state if that is less than `CLOSED`.
        holder: the states of all pages.
    """

    def __init__(self, folder: Path, keep_seconds: float, holder: StateHolder | None = None):
        self.folder, self.keep_seconds, self.holder = folder, keep_seconds, holder
        self._stop = threading.Event()
        self._own = {path for path in folder.rglob("*") if path.is_file()}
        threading.Thread(target=self._run, name="sweeper", daemon=True).start()

    def close(self) -> None:
        self._stop.set()

    def sweep(self) -> None:
        """Delete old files and the folders that they leave empty."""
        oldest = time.time() - self.keep_seconds
        for path in sorted(self.folder.rglob("*"), reverse=True):  # files before their folders
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    if path.stat().st_mtime < oldest:
                        path.rmdir()  # only where it is empty
                elif path not in self._own and path.lstat().st_ctime < oldest:
                    path.unlink()

    def _run(self) -> None:
        while not self._stop.wait(min(600.0, max(0.5, self.keep_seconds / 4))):
            self.sweep()
            if self.holder:
                let_go(self.holder, min(CLOSED, self.keep_seconds))
