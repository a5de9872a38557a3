"""Roundabout questions for training: frames ("I wonder {}.") around what is asked ("what colour {ref} is").

A list of whole wordings is learnt by heart; frames and clauses combine into many more than could be. The
wordings kept for the evaluation use none of these frames.
"""

from __future__ import annotations

from random import Random

FRAMES = (
    "I wonder {}.", "Let me know {}.", "Please say {}.", "I want to know {}.", "Would you tell me {}?",
    "Find out {}.", "Are you able to tell {}?", "Write down {}.", "My question is {}.",
    "Can you work out {}?",
    "I need to know {}.", "Just say {}.", "I am asking {}.", "Will you tell me {}?", "Help me see {}.",
    "Have a look and say {}.", "May I ask {}?", "It would help to know {}.", "Show that you know {}.",
    "Try to tell {}.", "Answer in short: {}?", "Now say {}.", "I cannot see {}.", "Kindly tell me {}.",
)  # fmt: skip

CLAUSES = {
    "colour": (
        "what colour {ref} is", "which colour {ref} has", "the colour of {ref}", "what colour {ref} has",
        "how {ref} is coloured", "in which colour {ref} is painted",
    ),
    "shape": (
        "what shape {ref} is", "which shape {ref} has", "the shape of {ref}", "what shape {ref} has",
        "what kind of shape {ref} is", "what form {ref} has", "which shape {ref} takes",
        "whether {ref} is a circle, a square or something else",
    ),
    "size": (
        "how big {ref} is", "what size {ref} is", "the size of {ref}", "how large {ref} is",
        "whether {ref} is small, medium or large", "which size {ref} has",
    ),
    "pattern": (
        "what pattern {ref} has", "which pattern is on {ref}", "the pattern of {ref}", "how {ref} is filled",
        "whether {ref} is plain, striped, dotted or outlined", "what the pattern on {ref} is",
    ),
    "count": (
        "how many {nouns} there are", "how many {nouns} you see", "the number of {nouns}",
        "how many {nouns} the picture has", "how many {nouns} are in the picture",
        "the total number of {nouns}",
        "how many {nouns} you can count", "what the number of {nouns} is",
    ),
    "count_of": (
        "how many {things} there are", "how many {things} you see", "the number of {things}",
        "how many {things} the picture has", "how many {things} are in the picture",
        "how many {things} you can count",
    ),
    "exists": (
        "whether there is {a}", "if there is {a}", "if you see {a}", "whether you can see {a}",
        "if the picture shows {a}", "whether {a} is there",
    ),
    "where": (
        "where {ref} is", "where {ref} can be found", "the place of {ref}", "the position of {ref}",
        "in which part of the picture {ref} is", "where in the picture {ref} lies",
    ),
    "relation_yes": (
        "whether {ref} is {side} {other}", "if {ref} is {side} {other}", "whether {ref} lies {side} {other}",
        "if it is true that {ref} is {side} {other}",
    ),
    "relation_side": (
        "whether {ref} is {pair} {other}", "if {ref} is {pair} {other}", "whether {ref} lies {pair} {other}",
    ),
    "relation_where": (
        "where {ref} is relative to {other}", "where {ref} lies seen from {other}",
        "on which side of {other} {ref} is",
    ),
    "nearest": (
        "which {noun} is nearest to {ref}", "what is closest to {ref}", "the {noun} nearest to {ref}",
        "which {noun} lies next to {ref}",
    ),
    "between": (
        "which {noun} is between {ref} and {other}", "what lies between {ref} and {other}",
        "the {noun} between {ref} and {other}",
    ),
    "most_colour": (
        "what colour the {most} {noun} is", "the colour of the {most} {noun}",
        "which colour the {most} {noun} has",
    ),
    "most_shape": (
        "what shape the {most} object is", "the shape of the {most} thing",
        "which shape the {most} object has",
    ),
    "most_name": (
        "which {noun} is the {most}", "what the {most} {noun} is", "the {most} of the {nouns}",
    ),
    "background": (
        "what colour the background is", "the colour of the background", "which colour the background has",
        "what is behind the {nouns}", "the background colour", "what colour lies behind the {nouns}",
        "what the background is", "what colour the backdrop is", "which colour surrounds the {nouns}",
    ),
    "read": (
        "what {ref} says", "what is written in the picture", "which text you see", "the text in the picture",
        "which letters or digits are shown", "what you can read",
    ),
    "read_one": ("what {ref} says", "what is written in {ref}", "which characters are in {ref}"),
    "describe": (
        "what you see", "what the picture shows", "everything in the picture", "what is in the picture",
        "all the {nouns} in the picture and where they are", "what can be seen here",
        "which {nouns} are in the picture", "what this picture is about", "what is shown here",
        "what there is in the picture", "what we see here", "the whole picture in words",
    ),
    "video_direction": (
        "which way {ref} moves", "where {ref} goes", "in which direction {ref} moves",
        "the direction of {ref}", "which way {ref} is going",
    ),
    "video_which": (
        "which {noun} moves", "what moves", "which {noun} is moving", "the {noun} that moves",
        "which {noun} changes its place",
    ),
    "video_moves": (
        "whether {ref} moves", "if {ref} moves", "if {ref} is moving",
        "whether {ref} stays still or moves",
    ),
    "appears": (
        "which {noun} appears", "what appears", "what comes into view", "the {noun} that appears",
        "which {noun} is new",
    ),
    "disappears": (
        "which {noun} disappears", "what disappears", "what goes away", "the {noun} that disappears",
        "which {noun} is gone",
    ),
    "video_first": ("what happens first", "which change comes first", "the first change", "what comes first"),
    "video_count": (
        "how many {nouns} move", "how many {nouns} are moving", "the number of moving {nouns}",
    ),
    "video_start": (
        "how many {nouns} there are at the start", "how many {nouns} are in the first frame",
        "the number of {nouns} at the beginning",
    ),
    "video_end": (
        "how many {nouns} there are at the end", "how many {nouns} are in the last frame",
        "the number of {nouns} at the very end",
    ),
    "video_describe": (
        "what happens in the video", "what happens", "what the video shows", "what each {noun} does",
        "what you see in the video", "what the {nouns} do",
    ),
    "compare_count": (
        "which picture has more {nouns}", "whether the first or the second picture has more {nouns}",
    ),
    "compare_colour": (
        "whether the two {nouns} have the same colour", "if the colour is the same in both pictures",
    ),
    "compare_shape": (
        "whether the two {nouns} have the same shape", "if the shape is the same in both pictures",
    ),
    "compare_exists": ("which picture has {a}", "whether {a} is in the first or the second picture"),
    "compare_colour_in": (
        "what colour {ref} is in the {nth} picture", "the colour of {ref} in the {nth} picture",
    ),
    "compare_count_in": (
        "how many {nouns} are in the {nth} picture", "the number of {nouns} in the {nth} picture",
    ),
}  # fmt: skip
PICTURES = ("image", "image", "drawing", "scene", "photo")  # now and then instead of "picture"


def framed(key: str, rng: Random) -> str | None:
    """A template for this list of wordings, None where it has no clauses (follow-ups are always short)."""
    return rng.choice(FRAMES).format(rng.choice(CLAUSES[key])) if key in CLAUSES else None
