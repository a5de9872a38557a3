"""The sandbox's other side: a process that has everything imported and forks one reader for each file.

A reader has its limits from the kernel: memory, CPU time, no files to write, no core dumps and, where the
kernel lets us, no network. It answers requests about its file until it is asked nothing for a while.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET, PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 0x10000000, 0x40000000, 1, 38
QUIET = 0.2  # seconds
MAX_FILES = 64  # descriptors a reader may have open
_BLANK = Path(__file__).parent / "blank"
_PICTURES, _CLIP = (_BLANK / "blank.png", _BLANK / "blank.jpg"), _BLANK / "blank.mp4"


def main() -> None:
    """Run with the number of the control socket's descriptor as the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the app, which then closes the socket
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _leave_the_network()
    serve(socket.socket(fileno=int(sys.argv[1])))


def serve(control: socket.socket) -> None:
    """Give a reader to every socket that comes; tell how readers ended. Ends with the app."""
    _warm_up()
    ended: dict[int, int] = {}
    spare = _fork(control)
    while True:
        # The next spare is not made while the reader that was just handed over needs the processor.
        waiting = select.select([control], [], [], 1.0 if spare else QUIET)[0]
        _reap(ended)
        if not waiting:
            spare = spare or _fork(control)
            continue
        message, fds, _, _ = socket.recv_fds(control, 64, 1)
        if not message:
            return
        if fds:
            pid = (spare and _hand_over(spare, fds[0])) or _hand_over(_fork(control), fds[0])
            control.send(str(pid).encode())
            os.close(fds[0])
            spare = None
        else:
            control.send(str(_status(int(message), ended)).encode())


def _reap(ended: dict[int, int]) -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    while len(ended) > 256:
        del ended[next(iter(ended))]


def _status(pid: int, ended: dict[int, int]) -> int:
    """How a reader ended: the negative signal, or its exit code. The app has killed it if it still ran."""
    if pid not in ended:
        with suppress(ChildProcessError):
            ended[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return ended.get(pid, 0)


def _fork(control: socket.socket) -> tuple[int, socket.socket]:
    """A process that waits, all warm, for a socket on which to be a reader: (its number, the way to it)."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        control.close()
        ours.close()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        _touch(*_PICTURES, _CLIP)
        _, fds, _, _ = socket.recv_fds(theirs, 16, 1)
        theirs.close()
        if fds:
            _read_for(socket.socket(fileno=fds[0]))
    finally:
        os._exit(1)


def _hand_over(spare: tuple[int, socket.socket], fd: int) -> int:
    """Let a waiting process serve ``fd``; its number, or 0 where it is gone."""
    pid, channel = spare
    with channel, suppress(OSError):
        socket.send_fds(channel, [b"serve"], [fd])
        return pid
    return 0


def _read_for(channel: socket.socket) -> None:
    """A reader's life: the first message sets its limits, the others ask about its file."""
    from vlm.inputs.sandbox import wire

    limits, _ = wire.receive(channel)
    _confine(limits["memory_bytes"])
    medium = None
    while True:
        signal.alarm(limits["idle_seconds"])  # nobody handles it: the kernel ends a reader that nobody asks
        try:
            request, _ = wire.receive(channel)
        except EOFError:
            os._exit(0)
        signal.alarm(0)
        _allow_cpu(request["cpu_seconds"])
        medium = _answer(channel, request, medium)


def _answer(channel: socket.socket, request: dict, medium):
    from vlm.config import PixelConfig
    from vlm.inputs.media import open_media
    from vlm.inputs.sampling import MediaOptions
    from vlm.inputs.sandbox import wire
    from vlm.records import MediaError

    try:
        medium = medium or open_media(request["path"])
        if request["do"] == "open":
            header, arrays = wire.pack_medium(medium)
        else:
            pixels, options = _rebuilt(PixelConfig, request["pixels"]), MediaOptions(**request["options"])

            def progress(done: int, total: int) -> None:
                wire.send(channel, {"progress": [done, total]})

            header, arrays = wire.pack_patches(medium.patches(pixels, options, progress))
    except MediaError as error:
        short = isinstance(error.__cause__, MemoryError) or "allocate memory" in str(error.__cause__)
        header, arrays = {"memory": True} if short else {"error": error.reason}, []
    except MemoryError:
        header, arrays = {"memory": True}, []
    except Exception as error:  # a file that no reader foresaw
        header, arrays = {"broke": f"{type(error).__name__}: {error}"[:500]}, []
    wire.send(channel, header, *arrays)
    return medium


def _rebuilt(record: type, values: dict):
    return record(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    )


def _confine(memory_bytes: int) -> None:
    """Limits for good. What this process shares with the server it was forked from does not count."""
    own = _data_bytes()
    resource.setrlimit(resource.RLIMIT_DATA, (own + memory_bytes, own + memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, MAX_FILES))
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    quiet = os.open(os.devnull, os.O_WRONLY)  # decoders print what a hostile file makes them print
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)


def _data_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def _allow_cpu(seconds: int) -> None:
    """So many seconds more; the kernel ends the process (SIGXCPU) behind them."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _leave_the_network() -> None:
    """A network of its own without any device, where the kernel allows that. Before threads exist."""
    libc = ctypes.CDLL(None)
    if libc.unshare(CLONE_NEWNET):
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)


def _warm_up() -> None:
    """Import whatever a reader needs and use it once. No thread may be left: a fork would lose it."""
    import torch

    torch.set_num_threads(1)
    for name in ("vlm.inputs.sandbox.wire",):
        with suppress(ImportError, OSError, RuntimeError):
            __import__(name)
    _touch(*_PICTURES)
    gc.collect()
    gc.freeze()  # a reader's collector would copy all these pages


def _touch(*files: Path) -> None:
    """Read small files: what that imports, looks up and copies on its first time is then done."""
    from vlm.config import PixelConfig
    from vlm.inputs.media import open_media

    pixels = PixelConfig(16, (0.5,) * 3, (0.5,) * 3, 1024, 65536, 1024, 65536, True)
    for file in files:
        open_media(file).patches(pixels)


if __name__ == "__main__":
    main()
