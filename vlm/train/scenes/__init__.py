"""The drawn world: what there is, how it is drawn, and random scenes and clips of it."""

from vlm.train.scenes.compose import LEVELS, alike, random_clip, random_scene, with_text
from vlm.train.scenes.drawing import box, draw, draw_clip, letters, things_at
from vlm.train.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    PATTERNS,
    REGIONS,
    SHAPES,
    SIZES,
    TEXTURES,
    Background,
    Clip,
    Motion,
    Scene,
    Thing,
    clear_of_borders,
    region,
)

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "DIRECTIONS",
    "LEVELS",
    "PATTERNS",
    "REGIONS",
    "SHAPES",
    "SIZES",
    "TEXTURES",
    "Background",
    "Clip",
    "Motion",
    "Scene",
    "Thing",
    "alike",
    "box",
    "clear_of_borders",
    "draw",
    "draw_clip",
    "letters",
    "random_clip",
    "random_scene",
    "region",
    "things_at",
    "with_text",
]
