"""Pictures and animations: every mode, orientation, transparency, size and damage."""

from __future__ import annotations

import numpy as np
import pytest
from media_files import PIXELS
from PIL import Image

from vlm.inputs import images
from vlm.inputs.media import MediaOptions, open_media, read_media, sniff
from vlm.inputs.patches import fit_frames
from vlm.records import MediaError


def _save(path, picture, **options):
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_gives_the_same_grey(tmp_path, mode):
    grey = Image.new("L", (20, 12), 255 if mode == "1" else 128)
    if mode == "I;16":
        picture = Image.fromarray(np.full((12, 20), 128 << 8, np.uint16))
    elif mode == "P":
        picture = grey.convert("RGB").quantize(4)
    else:
        picture = grey.convert("RGB").convert(mode) if mode == "CMYK" else grey.convert(mode)
    suffix = "tiff" if mode in ("CMYK", "F", "I", "LA") else "png"
    frames = read_media(_save(tmp_path / f"a.{suffix}", picture), PIXELS)
    assert frames.pixels.shape == (1, 12, 20, 3) and frames.pixels.dtype == np.uint8
    assert (frames.pixels == (255 if mode == "1" else 128)).all()
    assert (frames.kind, frames.width, frames.height) == ("image", 20, 12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 256, 65535]], np.int32), [0, 1, 255]),
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[-10, 0, 10]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, np.nan, 255]], np.float32), [0, 0, 255]),
    ],
)
def test_pictures_without_a_range_are_scaled_not_clipped(values, expected):
    assert np.asarray(images.to_rgb(Image.fromarray(values)))[0, :, 0].tolist() == expected


def test_sixteen_bits_keep_their_upper_byte(tmp_path):
    values = np.array([[0, 255, 256, 40000, 65535]], np.uint16)
    frames = read_media(_save(tmp_path / "a.png", Image.fromarray(values)), PIXELS)
    assert frames.pixels[0, 0, :, 1].tolist() == [0, 0, 1, 156, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_transparent_pixels_are_white(tmp_path, mode):
    options = {}
    if mode in ("RGBA", "LA"):
        picture = Image.new(mode, (4, 4), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    else:
        picture = Image.new(mode, (4, 4), (0, 0, 0) if mode == "RGB" else 0)
        options = {"transparency": (0, 0, 0) if mode == "RGB" else 0}
    assert (read_media(_save(tmp_path / "a.png", picture, **options), PIXELS).pixels == 255).all()


def test_half_transparent_mixes_with_white(tmp_path):
    path = _save(tmp_path / "a.png", Image.new("RGBA", (4, 4), (0, 0, 0, 128)))
    assert (read_media(path, PIXELS).pixels == 127).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255  # white top left
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _save(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    frames = read_media(path, PIXELS)
    np.testing.assert_array_equal(frames.pixels[0], upright)
    assert (frames.width, frames.height) == (32, 16)


def test_a_large_photo_is_halved_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "EXACT_PIXELS", 10_000)
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = Image.effect_mandelbrot((800, 400), (-2, -1, 1, 1), 50).convert("RGB")
    for suffix in ("jpg", "png"):
        frames = read_media(_save(tmp_path / f"a.{suffix}", noise, exif=exif), PIXELS)
        assert frames.pixels.shape == (1, 100, 50, 3) or frames.pixels.shape == (1, 200, 100, 3)
        assert (frames.width, frames.height) == (400, 800)
        assert "reduced" in frames.notes[0]


def test_approximate_decodes_a_jpeg_at_reduced_size(tmp_path):
    noise = Image.effect_mandelbrot((1600, 800), (-2, -1, 1, 1), 50).convert("RGB")
    medium = open_media(_save(tmp_path / "a.jpg", noise))
    exact, quick = (medium.patches(PIXELS, MediaOptions(approximate=flag)) for flag in (False, True))
    assert exact.grid_thw == quick.grid_thw and (quick.width, quick.height) == (1600, 800)
    assert "approximate: reduced" in quick.notes[0] and exact.notes == ()
    assert np.abs(exact.resized.astype(int) - quick.resized).mean() < 8  # of 255; a picture of sharp edges
    png = open_media(_save(tmp_path / "a.png", noise)).patches(PIXELS, MediaOptions(approximate=True))
    assert png.notes == ()  # decoding all of it is no slower


@pytest.mark.parametrize("orientation", [1, 6])
def test_fitting_inside_pillow_changes_no_pixel(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = Image.effect_mandelbrot((320, 180), (-2, -1, 1, 1), 50).convert("RGB")
    path = _save(tmp_path / "a.jpg", noise, exif=exif)
    whole, fitted = read_media(path, PIXELS), open_media(path).patches(PIXELS)
    np.testing.assert_array_equal(fitted.resized, fit_frames(whole, PIXELS).resized)
    assert (fitted.width, fitted.height) == (whole.width, whole.height)


def test_reduction_keeps_what_the_model_sees():
    assert images._reduction((10_000, 10_000), (4000, 4000)) == 2
    assert images._reduction((10_000, 10_000), (6000, 6000)) == 1
    assert images._reduction((7000, 7000), (100, 100)) == 1


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest resets our filter
def test_a_hundred_megapixel_jpeg_is_read(tmp_path):
    path = _save(tmp_path / "big.jpg", Image.new("L", (10_000, 10_000), 90))
    frames = read_media(path, PIXELS)
    assert (frames.width, frames.height) == (10_000, 10_000)
    assert frames.pixels.shape == (1, 1250, 1250, 3) and abs(int(frames.pixels[0, 0, 0, 0]) - 90) < 3


@pytest.mark.parametrize("side", [13_400, 60_000])  # 180 and 3600 megapixels
def test_too_many_pixels_are_refused_from_the_header(tmp_path, side):
    header = bytearray(_save(tmp_path / "a.bmp", Image.new("L", (8, 8))).read_bytes())
    header[18:26] = side.to_bytes(4, "little") * 2
    (tmp_path / "a.bmp").write_bytes(header)
    with pytest.raises(MediaError, match="megapixels"):
        read_media(tmp_path / "a.bmp", PIXELS)


def test_our_limit_holds_where_pillows_is_lifted(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(MediaError, match="megapixels"):
        read_media(_save(tmp_path / "a.png", Image.new("L", (20, 20))), PIXELS)


def test_long_thin_pictures_are_refused_before_decoding(tmp_path):
    with pytest.raises(MediaError, match="201 times"):
        read_media(_save(tmp_path / "a.png", Image.new("L", (201, 1))), PIXELS)


def test_a_cut_off_picture_is_refused(tmp_path):
    path = _save(tmp_path / "a.png", Image.effect_noise((200, 200), 90))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(MediaError, match="damaged or cut off"):
        read_media(path, PIXELS)
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(MediaError, match="damaged or cut off"):
        read_media(path, PIXELS)


def test_one_pixel_works(tmp_path):
    assert read_media(_save(tmp_path / "a.png", Image.new("RGB", (1, 1))), PIXELS).pixels.shape == (
        1,
        1,
        1,
        3,
    )


def _animation(path, durations, **options):
    shades = [Image.new("RGB", (32, 16), (40 * i, 0, 0)) for i in range(len(durations))]
    extra = {"lossless": True} if path.suffix == ".webp" else {}
    return _save(
        path, shades[0], save_all=True, append_images=shades[1:], duration=durations, **extra, **options
    )


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_is_a_video_with_true_durations(tmp_path, suffix):
    path = _animation(tmp_path / f"a.{suffix}", [100, 500, 200, 1200])
    assert sniff(path) == "video"
    frames = read_media(path, PIXELS)
    assert frames.kind == "video" and frames.pixels.shape == (4, 16, 32, 3)
    assert frames.timestamps == pytest.approx((0, 0.1, 0.6, 0.8))
    assert frames.duration == pytest.approx(2.0) and frames.source_fps == pytest.approx(2.0)
    assert frames.pixels[:, 0, 0, 0].tolist() == [0, 40, 80, 120]


def test_a_frame_without_a_duration_lasts_as_in_a_browser(tmp_path):
    frames = read_media(_animation(tmp_path / "a.gif", [0, 0, 0]), PIXELS)
    assert frames.timestamps == pytest.approx((0, 0.1, 0.2))


def test_the_still_of_an_animated_png_is_no_frame_of_it(tmp_path):
    frames = read_media(_animation(tmp_path / "a.png", [100, 100, 100], default_image=True), PIXELS)
    assert frames.pixels[:, 0, 0, 0].tolist() == [40, 80]


def test_a_cut_off_animation_keeps_what_there_is(tmp_path):
    path = tmp_path / "a.gif"
    noise = [Image.effect_noise((64, 64), 90) for _ in range(6)]
    noise[0].save(path, save_all=True, append_images=noise[1:], duration=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames = read_media(path, PIXELS)
    assert 2 <= len(frames.pixels) < 6
    assert all(np.ptp(frame.astype(int)) > 100 for frame in frames.pixels)


def test_a_gif_of_one_frame_is_a_picture(tmp_path):
    assert sniff(_save(tmp_path / "a.gif", Image.new("L", (9, 9)))) == "image"


def test_pages_and_second_exposures_are_no_animation(tmp_path):
    page = Image.new("L", (9, 9))
    assert sniff(_save(tmp_path / "a.tiff", page, save_all=True, append_images=[page])) == "image"
    assert sniff(_save(tmp_path / "a.mpo", page, save_all=True, append_images=[page])) == "image"


def test_options_apply_to_animations(tmp_path):
    path = _animation(tmp_path / "a.gif", [100] * 6)
    assert read_media(path, PIXELS, MediaOptions(num_frames=2)).timestamps == pytest.approx((0, 0.5))


def test_heic(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.jpg"  # the name does not matter
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 10, 10))).save(path, format="HEIF")
    frames = read_media(path, PIXELS)
    assert (frames.kind, frames.width, frames.height) == ("image", 64, 48)


def test_heic_without_its_package_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_register_heic", lambda: None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(MediaError, match="pillow-heif"):
        read_media(path, PIXELS)


def test_the_digest_sees_pixels_shape_and_kind_but_not_the_name(tmp_path):
    one = read_media(_save(tmp_path / "a.png", Image.new("L", (4, 2), 9)), PIXELS).digest
    assert len(one) == 32
    assert one == read_media(_save(tmp_path / "b.bmp", Image.new("RGB", (4, 2), (9, 9, 9))), PIXELS).digest
    assert one != read_media(_save(tmp_path / "c.png", Image.new("L", (2, 4), 9)), PIXELS).digest
    assert one != read_media(_save(tmp_path / "d.png", Image.new("L", (4, 2), 8)), PIXELS).digest
