"""Our own functions in C++ (the .cpp files beside this one), compiled when they are first wanted.

That needs Linux, a CPU with `NEEDED` and, once, g++. Where something is missing or fails, `library` is
None and nothing changes but the speed; so it is with ``GLASSBOX_KERNEL=off``. What was compiled is kept for
this CPU in ``kernels`` beside the quantised matrices, in a folder that only its owner can enter.
"""

from __future__ import annotations

import ctypes
import logging
import os
import stat
import subprocess
import tempfile
from ctypes import c_float, c_int, c_int64, c_void_p
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger(__name__)
SOURCES = tuple(
    Path(__file__).with_name(f"{name}.cpp") for name in ("products", "attention", "vector", "rows")
)
HEADER = Path(__file__).with_name("floats.h")
CPUINFO = Path("/proc/cpuinfo")
NEEDED = {"avx512f", "avx512bw", "avx512vl", "avx512vbmi", "avx512_vnni"}
COMPILE = ("g++", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
_P, _N = c_void_p, c_int64
SIGNATURES = {  # all of them return nothing
    "four_product": (c_int, _P, _P, _N, _N, _P, _N, _P, c_int, c_int),
    "four_unpack": (c_int, _P, _P, _N, _N, _P, c_int, c_int),
    "one_token_attention": (_P, _P, _P, _P, _N, _N, _N, _N, _N, c_float, c_int),
    "matrix_vector": (_P, _N, _N, _P, _P, c_int),
    "rms_norm": (_P, _P, _P, _N, _N, c_float, c_int),
    "rotate": (_P, _N, _P, _P, _P, _N, _N, _N, c_int),
    "silu_times": (_P, _P, _P, _N, c_int),
}
PATIENCE = 120  # seconds for the compiler, which takes three


def cache_folder() -> Path | None:
    """Where this program keeps what it made; None: nowhere."""
    if os.environ.get("GLASSBOX_CACHE") == "off":
        return None
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glassbox-vl"


def plain(x: Tensor) -> bool:
    """In bfloat16 on a CPU, while no gradient is wanted and nothing is compiled.

    Else all stays as usual: PyTorch's compiler (2.13) can lower neither our functions nor private ones.
    """
    usual = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and not usual


@cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, with their signatures."""
    flags = _cpu_flags()
    if os.environ.get("GLASSBOX_KERNEL") == "off" or not flags >= NEEDED:
        return None
    try:
        texts = [source.read_text() for source in (*SOURCES, HEADER)]
        found = _kept_or_compiled(sha256(repr((texts, COMPILE, sorted(flags))).encode()).hexdigest())
        for name, arguments in SIGNATURES.items():
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, None
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        log.info("no functions of our own: %s", error)
        return None
    return found


def _cpu_flags() -> set[str]:
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split()[2:])


def _kept_or_compiled(key: str) -> ctypes.CDLL:
    """Raises OSError or SubprocessError where neither succeeds."""
    name = f"native-{key[:24]}.so"
    try:
        folder = _own_folder()
    except OSError as error:
        log.info("what is compiled is not kept: %s", error)
        folder = None
    if folder is None:
        with tempfile.TemporaryDirectory() as passing:  # what is loaded stays, the file need not
            return _load(_compiled(Path(passing) / name))
    try:
        return _load(folder / name)
    except OSError:  # not there, not ours alone, or broken
        return _load(_compiled(folder / name))


def _own_folder() -> Path | None:
    """A folder that is this user's and nobody else's, for code is loaded from it."""
    if (cache := cache_folder()) is None:
        return None
    folder = cache / "kernels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of this user")
    folder.chmod(0o700)
    return folder


def _compiled(target: Path) -> Path:
    half = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        subprocess.run(
            (*COMPILE, *SOURCES, "-o", half),
            check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE,
        )  # fmt: skip
        half.chmod(0o700)
        return half.replace(target)
    finally:
        half.unlink(missing_ok=True)


def _load(file: Path) -> ctypes.CDLL:
    """A regular file of this user that no one else can write; its folder is this user's too."""
    facts = file.lstat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise PermissionError(f"{file} could be written by others")
    return ctypes.CDLL(str(file))
