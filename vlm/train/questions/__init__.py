"""Questions and true answers about scenes, clips and pairs of pictures."""

from vlm.train.questions.asking import (
    IMAGE_KINDS,
    KINDS,
    PAIR_KINDS,
    VIDEO_KINDS,
    ask,
    ask_clip,
    ask_pair,
    corpus,
)
from vlm.train.questions.conversation import dialogue, smalltalk
from vlm.train.questions.wording import NUMBERS, Question

__all__ = [
    "IMAGE_KINDS",
    "KINDS",
    "NUMBERS",
    "PAIR_KINDS",
    "VIDEO_KINDS",
    "Question",
    "ask",
    "ask_clip",
    "ask_pair",
    "corpus",
    "dialogue",
    "smalltalk",
]
