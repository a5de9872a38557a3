"""Video files → Clip: PyAV lists every frame's true time and decodes the chosen ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, dropwhile
from pathlib import Path

import numpy as np

from vlm.inputs.clips import Clip
from vlm.records import MediaError

# ffmpeg also "plays" playlists and scripts, which make it open other files and addresses.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,ogg,asf,h264,hevc,m4v,ivf,mxf,"
    "obu,av1,mp3,wav,flac,aac"
)
SEEK_COST = 12  # frames that are decoded in the time of a seek


@dataclass(frozen=True)
class _Index:
    """All frames of one stream. ``pts`` and ``keys`` ascend, in ticks of ``tick`` seconds."""

    path: Path
    stream: int
    pts: np.ndarray  # (N,) int64
    keys: np.ndarray  # (K,) int64, where decoding can start
    tick: float
    tail: float  # seconds the last frame lasts; 0 where the file does not say
    counted: bool = False  # found by decoding: frames are told apart by their order, not by their times

    def position(self, pts: int) -> int:
        return int(np.searchsorted(self.pts, pts, "right")) - 1


def open_container(path: Path):
    """PyAV's container: local media files only. The caller closes it.

    Raises:
        av.FFmpegError: no format that we read.
    """
    import av

    av.logging.set_level(None)
    # An absolute path cannot be taken for a protocol, whatever the file is called.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    return av.open(str(path.absolute()), container_options=options)


def has_picture(container) -> bool:
    """A video stream other than an album cover."""
    return bool(_streams(container))


def open_video(path: Path) -> Clip:
    """List the frames of a video file's largest stream.

    Raises:
        MediaError: no frames, or none that can be decoded.
        av.FFmpegError: no format that we read.
    """
    with open_container(path) as container:
        stream = max(_streams(container), key=lambda s: s.width * s.height)
        rate, declared = stream.average_rate, _declared_seconds(container, stream)
        index = _list_frames(path, container, stream)
    width, height = _upright_size(index)
    times = (index.pts - index.pts[0]) * index.tick
    tail = index.tail or (times[-1] / (len(times) - 1) if len(times) > 1 else 1 / float(rate or 1))
    duration = float(times[-1] + tail)
    notes = ()
    if declared > duration + max(0.5, 2 * tail):
        notes = (f"the file ends early: {duration:.1f} of {declared:.1f} seconds could be read",)
    fps = float(rate or 0)
    if abs(fps * duration - len(times)) > 0.02 * len(times) + 0.5:
        fps = len(times) / duration  # the header is wrong, or the rate varies
    keys = () if index.counted else tuple(index.position(key) for key in index.keys.tolist())
    keys = tuple(sorted({key for key in keys if key >= 0}))

    def read(wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        return _read(index, wanted)

    return Clip(path.name, times, duration, fps, width, height, read, notes, keys)


def _streams(container) -> list:
    from av.stream import Disposition

    known = (s for s in container.streams.video if s.codec_context is not None)  # else it has no size
    return [s for s in known if not s.disposition & Disposition.attached_pic]


def _declared_seconds(container, stream) -> float:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1  # else the sound may be what lasts so long
    return (container.duration or 0) / 1e6 if alone else 0.0


def _list_frames(path: Path, container, stream) -> _Index:
    """Read the packets' headers without decoding: times and key frames."""
    rows = [(p.pts, p.duration or 0, p.is_keyframe, p.is_discard) for p in _packets(container, stream)]
    if not rows:
        raise MediaError(path.name, "the video has no frames: it lasts 0 seconds")
    if any(row[0] is None for row in rows):  # raw streams, some AVI
        return _list_by_decoding(path, stream)
    pts, seconds, key, hidden = np.array(rows, np.int64).T
    keys = np.unique(pts[key == 1])
    # What comes before the first key frame (a recording cut out of a broadcast) cannot be decoded.
    shown = (hidden == 0) & (pts >= (pts[key == 1][0] if len(keys) else pts.min()))
    times = np.unique(pts[shown])
    tick = float(stream.time_base)
    return _Index(path, stream.index, times, keys, tick, seconds[pts.argmax()] * tick)


def _list_by_decoding(path: Path, stream) -> _Index:
    """Slow but right, for containers that do not time every packet."""
    with open_container(path) as container:
        times = [frame.pts for frame in _decoded(container, container.streams[stream.index])]
    tick = float(stream.time_base)
    if None in times or times != sorted(set(times)):
        times, tick = range(len(times)), 1 / float(stream.average_rate or 25)
    none = np.empty(0, np.int64)
    return _Index(path, stream.index, np.array(times, np.int64), none, tick, 0.0, counted=True)


def _packets(container, stream) -> Iterator:
    import av

    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except av.FFmpegError:
        return  # cut off here: what came before counts


def _decoded(container, stream) -> Iterator:
    """Every frame that can be decoded; a damaged packet costs its own frames only."""
    import av

    for packet in chain(_packets(container, stream), [None]):  # None: what the decoder still holds
        try:
            yield from stream.decode(packet)
        except av.FFmpegError:
            continue


def _upright_size(index: _Index) -> tuple[int, int]:
    """(width, height) of the first frame that can be decoded; only a frame knows its rotation."""
    with open_container(index.path) as container:
        frame = next(_decoded(container, container.streams[index.stream]), None)
        if frame is None:
            codec = container.streams[index.stream].codec_context.name
            raise MediaError(index.path.name, f"no frame ({codec}) can be decoded: make it an H.264 MP4")
        return (frame.height, frame.width) if round(frame.rotation / 90) % 2 else (frame.width, frame.height)


def _read(index: _Index, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    player = _Player(index)
    try:
        for want in wanted:
            frame = player.go_to(want)
            if frame is not None:
                turns = round(frame.rotation / 90)
                yield want, np.rot90(frame.to_ndarray(format="rgb24"), turns)
    finally:
        player.close()


class _Player:
    """PyAV as a player that only moves forward: decode over short gaps, seek over long ones."""

    def __init__(self, index: _Index):
        self.index, self.container, self.can_seek = index, None, True
        self._rewind()

    def go_to(self, want: int):
        """The frame at position ``want``, or None where it cannot be decoded."""
        if self.can_seek and self._saved(want) > SEEK_COST:
            self._seek(want)
        while self.at < want and (frame := next(self.frames, None)) is not None:
            self._show(frame)
        return self.frame if self.at == want else None

    def close(self) -> None:
        if self.container:
            self.container.close()

    def _show(self, frame) -> None:
        self.frame = frame
        self.at = self.at + 1 if self.index.counted else self.index.position(frame.pts)

    def _rewind(self) -> None:
        self.close()
        self.container = open_container(self.index.path)
        self.stream = self.container.streams[self.index.stream]
        self.stream.thread_type = "AUTO"
        self.frame, self.at, self.frames = None, -1, _decoded(self.container, self.stream)

    def _saved(self, want: int) -> int:
        """Frames that a seek to the last key frame before ``want`` would skip."""
        before = np.searchsorted(self.index.keys, self.index.pts[want], "right")
        return self.index.position(self.index.keys[before - 1]) - self.at - 1 if before else 0

    def _seek(self, want: int) -> None:
        """Start at the last key frame before ``want``, or one or two earlier: some files land too late."""
        import av

        keys = self.index.keys[self.index.keys <= self.index.pts[want]]
        for key in keys[:-4:-1].tolist():
            try:
                self.container.seek(key, stream=self.stream)
            except av.FFmpegError:
                break
            # What the decoder shows before a key frame is guesswork.
            frames = dropwhile(lambda frame: not frame.key_frame, _decoded(self.container, self.stream))
            first = next(frames, None)
            if first is not None and first.pts in keys:  # MPEG-PS only guesses times after a seek
                self._show(first)
                self.frames = frames
                return
        self.can_seek = False
        self._rewind()
