"""What crosses between the sandbox's processes: JSON and raw arrays, no pickles: one side may be hostile."""

from __future__ import annotations

import json
import math
import socket
import struct
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from vlm.inputs.clips import Clip
from vlm.inputs.media import Medium
from vlm.records import Patches

MAX_HEADER = 8 * 2**20  # bytes
MAX_ARRAYS = 2**30  # bytes; the largest picture that a family takes is 50 MB, a clip 75 MB
_LENGTH = struct.Struct("!I")
_DTYPES = {"u1": np.uint8, "f8": np.float64}


def send(channel: socket.socket, header: dict, *arrays: np.ndarray) -> None:
    """One message: a JSON header, and the arrays' bytes behind it."""
    arrays = [np.ascontiguousarray(array) for array in arrays]
    header = header | {"arrays": [[array.dtype.str[1:], array.shape] for array in arrays]}
    written = json.dumps(header).encode()
    channel.sendall(_LENGTH.pack(len(written)) + written)
    for array in arrays:
        if array.nbytes:
            channel.sendall(memoryview(array).cast("B"))


def receive(channel: socket.socket) -> tuple[dict, list[np.ndarray]]:
    """The next message.

    Raises:
        EOFError: the other side is gone.
        ValueError: this is no message, or one beyond the bounds.
    """
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    if length > MAX_HEADER:
        raise ValueError("a message that is too long")
    header = json.loads(bytes(_exactly(channel, length)))
    arrays = [(_DTYPES[name], tuple(map(int, shape))) for name, shape in header.pop("arrays")]
    if sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in arrays) > MAX_ARRAYS:
        raise ValueError("arrays that are too large")
    return header, [_array(channel, dtype, shape) for dtype, shape in arrays]


def _array(channel: socket.socket, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    if any(edge < 0 for edge in shape):
        raise ValueError("an array of negative size")
    size = np.dtype(dtype).itemsize * math.prod(shape)
    return np.frombuffer(_exactly(channel, size), dtype).reshape(shape)


def _exactly(channel: socket.socket, count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        read = channel.recv_into(view)
        if not read:
            raise EOFError
        view = view[read:]
    return data


def pack_medium(medium: Medium) -> tuple[dict, list[np.ndarray]]:
    """An opened file without what only its own process can do: read it."""
    header = {"width": medium.width, "height": medium.height, "clip": None}
    if medium.clip is None:
        return header, []
    clip = {f.name: getattr(medium.clip, f.name) for f in fields(Clip) if f.name not in ("times", "read")}
    return header | {"clip": clip}, [medium.clip.times.astype(np.float64)]


def unpack_medium(header: dict, arrays: list[np.ndarray], path: Path) -> dict:
    """The fields of a `Medium`."""
    clip = header["clip"]
    if clip is not None:
        notes = tuple(map(str, clip["notes"]))
        keys = tuple(key for key in map(int, clip["keys"]) if 0 <= key < len(arrays[0]))
        own = {"times": arrays[0], "read": _elsewhere, "notes": notes, "keys": keys, "name": path.name}
        clip = Clip(**clip | own)
    return {"path": path, "width": int(header["width"]), "height": int(header["height"]), "clip": clip}


def pack_patches(patches: Patches) -> tuple[dict, list[np.ndarray]]:
    """A fitted medium; its ``pixels`` are not cut yet."""
    header = {
        f.name: getattr(patches, f.name) for f in fields(Patches) if f.name not in ("pixels", "resized")
    }
    return header | {"patch_dim": patches.pixels.shape[1]}, [patches.resized]


def unpack_patches(header: dict, arrays: list[np.ndarray], path: Path) -> Patches:
    header = {key: tuple(value) if isinstance(value, list) else value for key, value in header.items()}
    empty = torch.empty(0, int(header.pop("patch_dim")))
    return Patches(**header | {"pixels": empty, "resized": arrays[0], "name": path.name})


def _elsewhere(_: list[int]):
    raise RuntimeError("a sandboxed clip is read by its own process")
