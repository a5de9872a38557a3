"""The door: what a file is, and what is said about files that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from media_files import PIXELS, write_sound, write_video
from PIL import Image

from vlm.inputs.media import read_media, sniff
from vlm.records import MediaError


def _reason(path):
    with pytest.raises(MediaError) as caught:
        read_media(path, PIXELS)
    with pytest.raises(MediaError):
        sniff(path)
    assert str(Path(path).parent) not in str(caught.value)
    return caught.value.reason


def test_content_decides_not_the_name(tmp_path):
    video = write_video(tmp_path / "a.mp4").rename(tmp_path / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / "b.mp4", format="PNG")
    assert sniff(video) == "video" and read_media(video, PIXELS).kind == "video"
    assert sniff(tmp_path / "b.mp4") == "image" and read_media(tmp_path / "b.mp4", PIXELS).kind == "image"


def test_a_name_that_looks_like_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4").rename(tmp_path / "concat:a|b.mp4")
    assert read_media("concat:a|b.mp4", PIXELS).kind == "video"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello, world\n" * 900, "not a picture or a video: its content looks like text"),
        ("ein Bär\n".encode() * 900, "looks like text"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n#EXT-X-ENDLIST\n", "looks like text"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "looks like text"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%PDF-1.7\n\xff\xfe", "PDF"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (bytes(5000), "not a picture or a video"),
        (bytes(range(256)) * 40, "not a picture or a video"),
        (b"\0\0\0\x18ftypisom" + bytes(100), "damaged or cut off"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "looks like text"),
    ],
)
def test_other_files(tmp_path, content, reason):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    assert reason in _reason(path)


def test_missing_folder_and_pipe(tmp_path):
    assert "no such file" in _reason(tmp_path / "none.png")
    assert "folder" in _reason(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        assert "ordinary" in _reason(tmp_path / "pipe.mp4")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_permissions(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(path)
    path.chmod(0)
    assert "permissions" in _reason(path)


@pytest.mark.parametrize(
    "link", ["https://example.org/a.png", "FILE:///etc/passwd", "rtsp://x/y", "data:image/png;base64,AAAA"]
)
def test_links_are_not_opened(link):
    assert "download" in _reason(link)


def test_sound_without_a_picture(tmp_path):
    assert "sound but no picture" in _reason(write_sound(tmp_path / "a.mp4"))


def test_an_album_cover_is_no_video(tmp_path):
    import av

    cover = tmp_path / "cover.png"
    Image.new("RGB", (32, 32)).save(cover)
    with av.open(str(tmp_path / "a.mp4"), "w") as out, av.open(str(write_sound(tmp_path / "s.mp4"))) as sound:
        track = out.add_stream_from_template(sound.streams.audio[0])
        art = out.add_stream("png", rate=1)
        art.width = art.height = 32
        art.pix_fmt, art.disposition = "rgb24", av.stream.Disposition.attached_pic
        out.mux(art.encode(av.VideoFrame.from_image(Image.open(cover))))
        for packet in sound.demux():
            if packet.size:
                packet.stream = track
                out.mux(packet)
    assert "sound but no picture" in _reason(tmp_path / "a.mp4")


def test_a_video_of_no_seconds(tmp_path):
    # A whole MP4 whose sample tables are empty.
    data = write_video(tmp_path / "a.mp4", frames=1).read_bytes()
    for table in (b"stts", b"stsz", b"stsc", b"stco"):
        at = data.index(table) + (12 if table == b"stsz" else 8)
        data = data[:at] + bytes(4) + data[at + 4 :]
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(MediaError, match="no frames"):
        read_media(tmp_path / "a.mp4", PIXELS)
