"""Random scenes and clips: who is there, where they stand and what they do. All from the caller's rng."""

from __future__ import annotations

from dataclasses import replace
from math import hypot, pi
from random import Random

from vlm.train.scenes.drawing import between, half_size
from vlm.train.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    PATTERNS,
    SHAPES,
    SIZES,
    TEXTURES,
    WORDS,
    Background,
    Clip,
    Motion,
    Scene,
    Thing,
    clear_of_borders,
)

# A curriculum: keyword arguments for random_scene, from the easiest pictures to the fullest.
LEVELS = (
    {"count": (1, 1), "patterns": ("plain",), "rotate": False, "textures": ("plain",)},
    {"count": (1, 3), "patterns": ("plain",), "rotate": False, "textures": ("plain", "gradient")},
    {"count": (1, 4)},
    {"count": (0, 6), "text": 0.08},
)
_CLEARLY = 145  # least distance in colour between a thing and what lies behind it
_APART = 0.98  # centres stay at least this share of the two radii apart, so overlaps stay small


def _stands_out(colour: str, ground: str) -> bool:
    red, green, blue = (abs(a - b) for a, b in zip(COLOURS[colour], BACKGROUNDS[ground], strict=True))
    return (2 * red * red + 4 * green * green + 3 * blue * blue) ** 0.5 / 1.5 > _CLEARLY


_GROUNDS_COLOURS = {name: tuple(c for c in COLOURS if _stands_out(c, name)) for name in BACKGROUNDS}


def _jitter(rng: Random, rgb, most: int) -> tuple[int, int, int]:
    return tuple(min(255, max(0, part + rng.randint(-most, most))) for part in rgb)


def _background(rng: Random, textures) -> Background:
    name = rng.choice(tuple(BACKGROUNDS))
    return Background(name, _jitter(rng, BACKGROUNDS[name], 4), rng.choice(textures))


def _draw_names(rng: Random, names, number: int, alike: bool) -> list[str]:
    """`number` names: all different, or (alike) drawn from a pool so small that some must repeat."""
    if not alike:
        picked = rng.sample(names, min(number, len(names)))
        return picked + rng.choices(names, k=number - len(picked))
    pool = rng.sample(names, min(len(names), rng.randint(1, max(1, number - 1))))
    return rng.choices(pool, k=number)


def _characters(rng: Random) -> str:
    form = rng.random()
    if form < 0.35:
        return rng.choice(WORDS)
    letters = "0123456789" if form < 0.6 else "ABCDEFGHJKLMNPRSTUVWXYZ"  # no I, O, Q: they look like 1 and 0
    return "".join(rng.choices(letters, k=rng.choice((1, 1, 2, 3, 4))))


def _thing(rng: Random, shape: str, colour: str, size: str, patterns, rotate: bool) -> Thing:
    pattern = "plain" if "plain" in patterns and rng.random() < 0.3 else rng.choice(patterns)
    angle = rng.uniform(-pi / 7, pi / 7) if rotate and rng.random() < 0.7 else 0.0
    rgb = _jitter(rng, COLOURS[colour], 9)
    return Thing(shape, colour, size, pattern, 0.5, 0.5, rng.uniform(*SIZES[size]), angle, rgb)


def _as_text(rng: Random, thing: Thing) -> Thing:
    text = _characters(rng)
    # Small text could not be read, nor could a medium one of many characters.
    size = "large" if len(text) > 2 else rng.choice(("medium", "large"))
    radius = rng.uniform(*SIZES[size])
    return replace(thing, shape="text", text=text, pattern="plain", angle=0.0, size=size, radius=radius)


def _cast(rng: Random, number: int, ground: str, shapes, sizes, patterns, rotate: bool, text: float):
    """The things of a scene, not placed yet. Their colours and their shapes each may repeat or not."""
    colours = _draw_names(rng, _GROUNDS_COLOURS[ground], number, rng.random() < 0.5)
    forms = _draw_names(rng, tuple(shapes), number, rng.random() < 0.5)
    # Many things have no room to be large.
    sizes = tuple(size for size in sizes if size != "large" or number <= 4) or tuple(sizes)
    cast = [
        _thing(rng, form, colour, rng.choice(sizes), tuple(patterns), rotate)
        for form, colour in zip(forms, colours, strict=True)
    ]
    return [_as_text(rng, thing) if rng.random() < text else thing for thing in cast]


def _margins(thing: Thing, width: int, height: int) -> tuple[float, float]:
    """The room a thing needs to each side of its centre, in shares of the width and of the height."""
    if thing.text:
        across, down = half_size(thing, width, height)
        return min(0.49, (across + 2) / width), min(0.49, (down + 2) / height)
    reach = min(thing.radius * 1.2, 0.46) * min(width, height)
    return reach / width, reach / height


def _too_close(thing: Thing, other: Thing, here, there, width: int, height: int) -> bool:
    dx, dy = (here[0] - there[0]) * width, (here[1] - there[1]) * height
    if hypot(dx, dy) < _APART * (thing.radius + other.radius) * min(width, height):
        return True
    if not (thing.text or other.text):
        return False
    (across, down), (across_too, down_too) = (half_size(one, width, height) for one in (thing, other))
    return abs(dx) < across + across_too and abs(dy) < down + down_too  # a text is wider than tall


def _spot(rng: Random, thing: Thing, placed, width: int, height: int) -> Thing | None:
    """The thing somewhere free, or None. Most spots are clear of the borders between regions."""
    mx, my = _margins(thing, width, height)
    for _ in range(30):
        there = replace(thing, x=rng.uniform(mx, 1 - mx), y=rng.uniform(my, 1 - my))
        if not clear_of_borders(there) and rng.random() < 0.75:
            continue
        if _free(there, placed, width, height):
            return there
    return None


def _free(thing: Thing, placed, width: int, height: int) -> bool:
    here = (thing.x, thing.y)
    return not any(_too_close(thing, other, here, (other.x, other.y), width, height) for other in placed)


def _place(rng: Random, cast, width: int, height: int) -> tuple[Thing, ...] | None:
    placed: list[Thing] = []
    # The biggest first, while there is room; a shuffle afterwards keeps the order from telling the size.
    for thing in sorted(cast, key=lambda thing: -thing.radius):
        there = _spot(rng, thing, placed, width, height)
        if there is None:
            return None
        placed.append(there)
    rng.shuffle(placed)
    return tuple(placed)


def random_scene(
    rng: Random,
    *,
    width: int = 160,
    height: int = 160,
    count: tuple[int, int] = (1, 3),
    shapes=SHAPES,
    sizes=tuple(SIZES),
    patterns=PATTERNS,
    rotate: bool = True,
    textures=TEXTURES,
    text: float = 0.0,
) -> Scene:
    """A random scene with `count` = (fewest, most) things, every number equally likely.

    `shapes`, `sizes`, `patterns` and `textures` limit what may be drawn, `rotate` lets things be turned
    a little, and `text` is the share of things that are letters, digits or words. Things overlap hardly
    at all and stand out from the background; some scenes repeat colours or shapes, others do not.
    """
    number = rng.randint(*count)
    background = _background(rng, tuple(textures))
    while True:
        cast = _cast(rng, number, background.name, shapes, sizes, patterns, rotate, text)
        things = _place(rng, cast, width, height)
        if things is not None:
            return Scene(width, height, background, things, rng.getrandbits(24))


def with_text(scene: Scene, rng: Random, number: int = 1) -> Scene:
    """The scene with texts placed first, each of a colour of its own, and of its things those that still have
    room. There are ``number`` texts, or as many as found a place."""
    size, texts = (scene.width, scene.height), []
    while not texts:
        colours = _GROUNDS_COLOURS[scene.background.name]
        for colour in rng.sample(colours, min(number, len(colours))):
            thing = _as_text(rng, _thing(rng, "circle", colour, "large", ("plain",), False))
            texts += filter(None, [_spot(rng, thing, texts, *size)])
    others = [thing for thing in scene.things if _free(thing, texts, *size)]
    things = [*texts, *others]
    rng.shuffle(things)
    return replace(scene, things=tuple(things))


def alike(first: Scene, second: Scene, rng: Random) -> Scene:
    """The second one-thing scene, its thing now of the first one's colour or shape or both."""
    model, thing = first.things[0], second.things[0]
    same = rng.choice(("colour", "shape", "both"))
    if same != "colour":
        thing = replace(thing, shape=model.shape)
    if same != "shape" and _stands_out(model.colour, second.background.name):
        thing = replace(thing, colour=model.colour, rgb=_jitter(rng, COLOURS[model.colour], 9))
    return replace(second, things=(thing,))


def _kinds(rng: Random, number: int) -> list[str]:
    """What each thing of a clip does: one of them or more does something, the others are still."""
    busy = rng.choice((1, 1, min(2, number), number))
    # Without movers now and then: only then can be asked what happens first.
    moving, sudden = (0.4, 0.3) if rng.random() < 0.7 else (0.0, 0.5)
    kinds = rng.choices(("moves", "appears", "disappears"), (moving, sudden, sudden), k=busy)
    kinds += ["still"] * (number - busy)
    rng.shuffle(kinds)
    return kinds


def _path(rng: Random, thing: Thing, direction: str, width: int, height: int):
    """A start and an end at least 0.3 of the picture apart in the direction given."""
    ends = []
    for step, margin in zip(DIRECTIONS[direction], _margins(thing, width, height), strict=True):
        room = 1 - 2 * margin
        travel = rng.uniform(min(0.3, room), min(0.65, room)) if step else 0.0
        low = rng.uniform(margin, 1 - margin - travel)
        ends.append((low, low + travel) if step >= 0 else (low + travel, low))
    return tuple(zip(*ends, strict=True))


def _motion(rng: Random, index: int, kind: str, scene: Scene, frames: int, directions) -> Motion:
    thing = scene.things[index]
    if kind == "moves":
        direction = rng.choice(directions)
        start, end = _path(rng, thing, direction, scene.width, scene.height)
        return Motion(index, kind, start, end, direction)
    here = (thing.x, thing.y)
    return Motion(index, kind, here, here, None, rng.randint(1, frames - 1) if kind != "still" else 0)


def _collides(clip: Clip) -> bool:
    """Whether any two things come too close on their ways (hidden ones count: they may show up)."""
    things, size = clip.scene.things, (clip.scene.width, clip.scene.height)
    for step in range(13):
        at = [between(motion, step / 12) for motion in clip.motions]
        for i, thing in enumerate(things):
            if any(_too_close(thing, things[j], at[i], at[j], *size) for j in range(i)):
                return True
    return False


def _at_start(scene: Scene, motions) -> Scene:
    moved = (replace(t, x=m.start[0], y=m.start[1]) for t, m in zip(scene.things, motions, strict=True))
    return replace(scene, things=tuple(moved))


def random_clip(
    rng: Random,
    *,
    width: int = 160,
    height: int = 160,
    frames: tuple[int, int] = (4, 8),
    count: tuple[int, int] = (1, 3),
    eight: bool = False,
    **options,
) -> Clip:
    """A random clip of (fewest, most) frames in which at least one thing moves, appears or disappears.

    Movers go left, right, up or down (with `eight` also aslant) across at least 0.3 of the picture.
    Further options are those of random_scene.
    """
    number = rng.randint(*frames)
    directions = tuple(DIRECTIONS)[: 8 if eight else 4]
    # Large things have little room to move in.
    options.setdefault("sizes", ("small", "medium"))
    while True:
        scene = random_scene(rng, width=width, height=height, count=(max(1, count[0]), count[1]), **options)
        kinds = _kinds(rng, len(scene.things))
        for _ in range(12):
            motions = tuple(_motion(rng, i, k, scene, number, directions) for i, k in enumerate(kinds))
            clip = Clip(_at_start(scene, motions), motions, number)
            if not _collides(clip):
                return clip
