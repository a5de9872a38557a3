"""The folder of uploads: this app's own, swept of what is old, gone when the app ends."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "GRADIO_TEMP_DIR"


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


class Sweeper:
    """Deletes what Gradio leaves behind, such as uploads that broke off, once it is old.

    Args:
        folder: of the uploads. What is in it at the start is the page's own and stays.
        keep_seconds: the age from which a file goes.
    """

    def __init__(self, folder: Path, keep_seconds: float):
        self.folder, self.keep_seconds = folder, keep_seconds
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
