"""Scenes and clips: the facts must agree with the pixels."""

from collections import Counter
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from vlm.train.scenes import (
    COLOURS,
    DIRECTIONS,
    LEVELS,
    PATTERNS,
    REGIONS,
    SHAPES,
    SIZES,
    Background,
    Scene,
    Thing,
    alike,
    box,
    draw,
    draw_clip,
    random_clip,
    random_scene,
    region,
    things_at,
    with_text,
)

GREY = Background("pale grey", (212, 212, 214))


def one_thing(shape="circle", colour="red", pattern="plain", radius=0.13, angle=0.0, x=0.5, y=0.5, text=""):
    thing = Thing(shape, colour, "medium", pattern, x, y, radius, angle, COLOURS[colour], text)
    return Scene(160, 160, GREY, (thing,), 5)


def scenes(number, seed=0, **options):
    rng = Random(seed)
    return [random_scene(rng, **options) for _ in range(number)]


def extent(mask):
    """The box of a mask in thousandths, found the slow way."""
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    return [
        1000 * xs.min() / width,
        1000 * ys.min() / height,
        1000 * (xs.max() + 1) / width,
        1000 * (ys.max() + 1) / height,
    ]


def test_the_same_seed_gives_the_same_pictures():
    for first, second in zip(scenes(20, 3, text=0.2), scenes(20, 3, text=0.2), strict=True):
        assert first == second
        assert all(np.array_equal(a, b) for a, b in zip(draw(first), draw(second), strict=True))


def test_other_seeds_give_other_pictures():
    assert len({repr(scene) for scene in scenes(200)}) == 200


@pytest.mark.parametrize(("width", "height"), [(160, 160), (96, 128), (224, 160), (700, 420)])
def test_pictures_have_the_size_asked_for(width, height):
    image, owner = draw(random_scene(Random(1), width=width, height=height))
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert owner.shape == (height, width) and owner.dtype == np.int8


@pytest.mark.parametrize("texture", ["plain", "gradient", "noise"])
def test_backgrounds_keep_close_to_their_colour(texture):
    ground = Background("pale blue", (196, 218, 246), texture)
    image, owner = draw(Scene(160, 160, ground, (), 77))
    assert (owner == -1).all()
    assert np.abs(image.reshape(-1, 3).mean(0) - ground.rgb).max() < 6


@pytest.mark.parametrize("shape", SHAPES)
def test_a_plain_shape_shows_its_colour_wherever_it_owns_pixels(shape):
    image, owner = draw(one_thing(shape, "blue", angle=0.3))
    inside = image[owner == 0].astype(int)
    assert len(inside) > 300
    assert np.median(np.abs(inside - COLOURS["blue"]).max(1)) <= 1
    assert (image[owner == -1].astype(int) - GREY.rgb).mean() > -3


def test_shapes_are_all_different():
    masks = [draw(one_thing(shape))[1] == 0 for shape in SHAPES]
    for i, mask in enumerate(masks):
        for other in masks[:i]:
            assert (mask & other).sum() / (mask | other).sum() < 0.93


@pytest.mark.parametrize("shape", SHAPES)
def test_patterns_are_all_different_but_show_the_same_outline(shape):
    drawn = [draw(one_thing(shape, pattern=pattern)) for pattern in PATTERNS]
    for i, (image, owner) in enumerate(drawn):
        assert np.array_equal(owner, drawn[0][1])
        for other, _ in drawn[:i]:
            assert (np.abs(image.astype(int) - other).max(2) > 60)[owner == 0].mean() > 0.12


def test_edges_are_smooth():
    image, _ = draw(one_thing("circle", "black", x=0.513, y=0.488))
    assert len(np.unique(image[..., 0])) > 20


def test_text_is_drawn_inside_its_place():
    image, owner = draw(one_thing("text", "black", radius=0.2, x=0.3, y=0.7, text="STOP"))
    ys, xs = np.nonzero(owner == 0)
    assert abs(xs.mean() / 160 - 0.3) < 0.03 and abs(ys.mean() / 160 - 0.7) < 0.03
    assert image[owner == 0].mean() < 130
    assert xs.max() - xs.min() <= 3 * 0.2 * 160 + 2 and ys.max() - ys.min() <= 1.3 * 0.2 * 160 + 2


def test_things_stay_identifiable():
    for scene in scenes(300, count=(1, 6), text=0.1):
        _, owner = draw(scene)
        for index, thing in enumerate(scene.things):
            alone = Scene(scene.width, scene.height, scene.background, (thing,), scene.seed)
            assert (owner == index).sum() >= 0.75 * (draw(alone)[1] == 0).sum()


def test_owner_map_agrees_with_boxes():
    for scene in scenes(200, count=(1, 1), text=0.2):
        assert np.abs(np.array(box(scene.things[0], scene)) - extent(draw(scene)[1] == 0)).max() <= 1


def test_things_lie_whole_inside_the_picture():
    for scene in scenes(300, count=(1, 5), width=200, height=120):
        owner = draw(scene)[1]
        edge = np.concatenate([owner[0], owner[-1], owner[:, 0], owner[:, -1]])
        assert (edge >= 0).mean() < 0.02


def test_sizes_keep_their_classes():
    for scene in scenes(200, count=(1, 6), text=0.1):
        for thing in scene.things:
            low, high = SIZES[thing.size]
            assert low <= thing.radius <= high
    ranges = list(SIZES.values())
    assert all(first[1] * 1.3 < second[0] for first, second in pairwise(ranges))


def test_all_numbers_of_things_come_up_alike():
    counts = np.bincount([len(scene.things) for scene in scenes(1400, count=(0, 6))], minlength=7)
    assert counts.min() > 140


def test_some_scenes_repeat_colours_and_shapes_and_some_do_not():
    for feature in ("colour", "shape"):
        kinds = [len({getattr(t, feature) for t in scene.things}) for scene in scenes(200, count=(4, 4))]
        assert kinds.count(4) > 40 and sum(kind < 4 for kind in kinds) > 40


@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_options(level):
    for scene in scenes(50, **level):
        low, high = level["count"]
        assert low <= len(scene.things) <= high
        assert {thing.pattern for thing in scene.things} <= set(level.get("patterns", PATTERNS))
        assert level.get("rotate", True) or not any(thing.angle for thing in scene.things)
        assert level.get("text") or not any(thing.text for thing in scene.things)


def test_regions_are_the_ninths_of_the_picture():
    centres = [one_thing(x=(i % 3 + 0.5) / 3, y=(i // 3 + 0.5) / 3).things[0] for i in range(9)]
    assert tuple(map(region, centres)) == REGIONS


def middle(mask):
    ys, xs = np.nonzero(mask)
    return np.array([xs.mean() / mask.shape[1], ys.mean() / mask.shape[0]])


def check_motion(motion, clip, owners):
    masks = [owner == motion.thing_index for owner in owners]
    seen = [bool(mask.any()) for mask in masks]
    wanted = {
        "appears": [f >= motion.frame for f in range(clip.frames)],
        "disappears": [f < motion.frame for f in range(clip.frames)],
    }
    assert seen == wanted.get(motion.kind, [True] * clip.frames)
    assert len(set(seen)) == 2 or motion.kind in ("moves", "still")
    shown = [mask for mask in masks if mask.any()]
    way = middle(shown[-1]) - middle(shown[0])
    if motion.kind != "moves":
        assert np.abs(way).max() < 0.03
        return
    step = np.array(DIRECTIONS[motion.direction])
    assert (way[step != 0] * step[step != 0] > 0.26).all()
    assert (np.abs(way[step == 0]) < 0.03).all()


@pytest.mark.parametrize("eight", [False, True])
def test_motions_are_true_in_the_owner_maps(eight):
    rng = Random(4)
    for _ in range(80):
        clip = random_clip(rng, eight=eight)
        images, owners = draw_clip(clip)
        assert images.shape == (clip.frames, 160, 160, 3) and owners.shape == (clip.frames, 160, 160)
        assert any(motion.kind != "still" for motion in clip.motions)
        for motion in clip.motions:
            check_motion(motion, clip, owners)


def test_clips_are_determined_by_the_seed_and_start_at_their_scene():
    clip = random_clip(Random(9), count=(3, 3))
    assert clip == random_clip(Random(9), count=(3, 3))
    assert clip.fps == 2 and 4 <= clip.frames <= 8
    for index, thing in things_at(clip, 0):
        assert (thing.x, thing.y) == (clip.scene.things[index].x, clip.scene.things[index].y)


def test_all_four_directions_come_up():
    rng = Random(2)
    seen = [motion.direction for _ in range(300) for motion in random_clip(rng).motions if motion.direction]
    assert set(seen) == {"left", "right", "up", "down"}
    assert min(map(seen.count, seen)) > 20


def test_a_text_is_put_among_things_that_leave_it_room():
    for seed in range(60):
        rng = Random(seed)
        scene = with_text(random_scene(rng, width=160, height=192, count=(0, 3)), rng)
        texts = [thing for thing in scene.things if thing.text]
        assert len(texts) == 1 and texts[0].shape == "text"
        (text,) = texts
        for thing in scene.things:
            if thing is not text:
                gap = np.hypot((thing.x - text.x) * 160, (thing.y - text.y) * 192)
                assert gap > 0.97 * (thing.radius + text.radius) * 160


def test_alike_pairs_share_colour_or_shape():
    shared = Counter()
    for seed in range(200):
        rng = Random(seed)
        first, second = (random_scene(rng, count=(1, 1)) for _ in range(2))
        made = alike(first, second, rng)
        (one,), (other,) = first.things, made.things
        shared[one.colour == other.colour, one.shape == other.shape] += 1
        assert (other.x, other.y, made.background) == (
            second.things[0].x,
            second.things[0].y,
            second.background,
        )
    assert shared[True, True] > 30 and shared[True, False] > 20 and shared[False, True] > 40
    assert shared[False, False] < 20  # where the colour would not stand out
