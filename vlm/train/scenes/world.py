"""The little world the model learns: names, looks and plain records of things, scenes and clips."""

from __future__ import annotations

from dataclasses import dataclass

SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "cross",
    "diamond",
    "ring",
    "hexagon",
    "crescent",
)
COLOURS = {
    "red": (214, 32, 36),
    "orange": (248, 134, 22),
    "yellow": (248, 216, 36),
    "green": (38, 152, 62),
    "blue": (34, 82, 214),
    "purple": (128, 44, 168),
    "pink": (250, 132, 186),
    "brown": (122, 72, 34),
    "black": (22, 22, 24),
    "white": (250, 250, 250),
}
# Radius as a share of the shorter edge. The gaps between classes keep "large" from shading into "medium".
SIZES = {"small": (0.068, 0.086), "medium": (0.118, 0.140), "large": (0.185, 0.225)}
PATTERNS = ("plain", "striped", "dotted", "outlined")
TEXTURES = ("plain", "gradient", "noise")
BACKGROUNDS = {
    "white": (252, 252, 252),
    "pale grey": (212, 212, 214),
    "pale blue": (196, 218, 246),
    "pale green": (202, 236, 200),
    "pale yellow": (250, 244, 202),
    "black": (10, 10, 12),
    "dark grey": (74, 74, 78),
    "dark blue": (18, 28, 84),
    "dark green": (14, 66, 36),
}
REGIONS = (
    "top left",
    "top",
    "top right",
    "left",
    "centre",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
# Unit steps with y downwards, as in pictures. The first four are the everyday ones.
DIRECTIONS = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "up left": (-1, -1),
    "up right": (1, -1),
    "down left": (-1, 1),
    "down right": (1, 1),
}
WORDS = ("GO", "STOP", "YES", "NO", "UP", "CAT", "SUN", "OPEN", "EXIT", "HOT", "ICE", "TEA", "BUS", "ZOO")
REACH = 1.25  # no shape reaches further from its centre than this many radii


@dataclass(frozen=True)
class Background:
    """What lies behind the things: a colour name, its exact colour and one of TEXTURES."""

    name: str
    rgb: tuple[int, int, int]
    texture: str = "plain"


@dataclass(frozen=True)
class Thing:
    """One object: x, y (its centre) in 0..1 of width and height, radius in shares of the shorter edge.

    `angle` is in radians, clockwise. A thing whose shape is "text" shows the characters in `text`.
    """

    shape: str
    colour: str
    size: str
    pattern: str
    x: float
    y: float
    radius: float
    angle: float
    rgb: tuple[int, int, int]
    text: str = ""


@dataclass(frozen=True)
class Scene:
    """A still picture as facts. Later things lie in front of earlier ones; `seed` fixes the texture."""

    width: int
    height: int
    background: Background
    things: tuple[Thing, ...]
    seed: int


@dataclass(frozen=True)
class Motion:
    """What one thing does in a clip: kind is "moves", "appears", "disappears" or "still".

    A mover goes evenly from `start` to `end` (x, y in 0..1) in `direction`. A thing that appears is
    seen from frame `frame` on; one that disappears is seen in the frames before it.
    """

    thing_index: int
    kind: str
    start: tuple[float, float]
    end: tuple[float, float]
    direction: str | None = None
    frame: int = 0


@dataclass(frozen=True)
class Clip:
    """A short video as facts: `scene` holds every thing where it starts, with one motion for each."""

    scene: Scene
    motions: tuple[Motion, ...]
    frames: int
    fps: int = 2


def region(thing: Thing) -> str:
    """The ninth of the picture, one of REGIONS, that holds the centre of the thing."""
    return REGIONS[3 * min(2, int(thing.y * 3)) + min(2, int(thing.x * 3))]


def clear_of_borders(thing: Thing, margin: float = 0.03) -> bool:
    """Whether the thing's centre is far enough from the borders of the thirds to name its region."""
    return all(abs(place - border) > margin for place in (thing.x, thing.y) for border in (1 / 3, 2 / 3))
