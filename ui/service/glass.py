"""What the lens panels ask for, when somebody looks: words, cells, patches, probabilities, stages, files.

Requests come from a browser, so everything in them is checked; a run is named by its id, which nobody can
guess. Nothing here runs while no one looks.
"""

from __future__ import annotations

import base64
import io
import logging
import secrets
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ui import draw
from ui.service.records import Failed, Refused, Run
from ui.service.telling import without_paths

if TYPE_CHECKING:
    from vlm.inputs.media import Medium
    from vlm.lens.attention import Looks
    from vlm.lens.subject import Lens
    from vlm.lens.tower import TowerView
    from vlm.lens.words import Word
    from vlm.records import Patches

log = logging.getLogger("glassbox")
WORDS = 64  # of one request; a longer answer is looked at part by part
VIEWS_BYTES = 256 * 2**20  # of towers that were looked into
OTHER = "This turn was answered by a model that is no longer loaded. Ask again to look inside."
SPACES = "On ZeroGPU the model is only there while it answers, so nothing can be looked at afterwards."
GONE = "That turn is no longer kept. Ask again to see it."


class Glass:
    """The lenses of all pages. ``run_of`` finds a turn by its id; ``open_media`` opens a person's file."""

    def __init__(self, run_of: Callable[[str], Run | None], open_media: Callable[[str], Medium]):
        self._run_of, self._open_media = run_of, open_media
        self._last: Lens | None = None  # of the engine that was looked into last
        self._views: OrderedDict[tuple, TowerView] = OrderedDict()  # of the same engine
        self._asks = {
            "open": self._open, "look": self._look, "sure": self._sure, "cell": self._cell,
            "patch": self._patch, "stages": self._stages, "file": self._file, "sides": self._sides,
            "original": self._original,
        }  # fmt: skip

    def ask(self, request: object) -> dict:
        """Answer one request of a browser; what cannot be had is said under ``error``."""
        from ui.service.backend import InputError

        try:
            request = request if isinstance(request, dict) else {}
            run_id, what = request.get("run"), request.get("what")
            run = self._run_of(run_id) if isinstance(run_id, str) else None
            if run is None or not isinstance(what, str) or what not in self._asks:
                raise Refused(GONE)
            return self._asks[what](run, request)
        except (Refused, InputError) as error:
            return {"error": without_paths(str(error))}
        except (ValueError, TypeError, KeyError, IndexError) as error:
            log.info("lens request %r: %s", request, error)
            return {"error": "That cannot be looked at."}
        except Exception:
            reference = secrets.token_hex(4)
            log.exception("lens failed, reference %s", reference)
            return {"error": str(Failed(reference, ""))}

    def forget(self) -> None:
        """Let go of the model that was looked into."""
        self._last = None
        self._views.clear()

    # ---- one request each -----------------------------------------------------------------------
    def _open(self, run: Run, request: dict) -> dict:
        from vlm.lens.regions import find_regions
        from vlm.lens.words import raw_answer

        engine, sequence = _engine(run), run.trace.sequence
        config, raw = engine.config, raw_answer(sequence, engine.tokenizer)
        grid = draw.grid_data(run)
        found = [find_regions(raw, patches, config.box_scale) for patches in sequence.media]
        return {
            "words": [word.text for word in self._words(run)],
            "media": grid["media"],
            "pick": grid["pick"],
            "windows": grid["windows"],
            "layers": config.decoder.num_layers,
            "heads": config.decoder.num_heads,
            "chosen": [list(head) for head in config.looking_heads],
            "blocks": config.vision.depth,
            "towerHeads": config.vision.num_heads,
            "regions": [[asdict(region) for region in regions] for regions in found],
            "raw": raw,
            "part": WORDS,
        }

    def _look(self, run: Run, request: dict) -> dict:
        first, words = self._part(run, request)
        looks, recomputed = self._looks(run, request, words)
        maps = looks.adjusted(mask_sinks=bool(request.get("mask")), normalise=bool(request.get("normalise")))
        return {
            "first": first,
            "maps": [shades(row) for row in maps],
            "shares": _bytes(255 * looks.shares.transpose(2, 0, 1)),  # word, layer, head
            "sinks": looks.sinks.tolist(),
            "recomputed": recomputed,
        }

    def _looks(self, run: Run, request: dict, words: list[Word]) -> tuple[Looks, bool]:
        from vlm.lens.attention import look

        heads = request.get("heads") or list(_engine(run).config.looking_heads)
        if request.get("heads") == "all":
            heads = []
        how = "max" if request.get("how") == "max" else "mean"
        pairs = [(int(layer), int(head)) for layer, head in heads[:4096]]
        with self._lens(run).subject(run.trace.sequence) as subject:
            return look(subject, words, pairs, how), subject.recomputed

    def _sure(self, run: Run, request: dict) -> dict:
        from vlm.lens.confidence import confidence, word_probability

        first, words = self._part(run, request)
        with self._lens(run).subject(run.trace.sequence) as subject:
            found = confidence(subject, words, _engine(run).tokenizer)
        return {
            "first": first,
            "sure": [
                {
                    "probability": word_probability(guesses),
                    "tokens": [[guess.text, guess.probability, guess.alternatives] for guess in guesses],
                }
                for guesses in found
            ],
        }

    def _cell(self, run: Run, request: dict) -> dict:
        """The words of ``cells`` together (an exported page has all of them), or of the one ``cell``."""
        from vlm.lens.attention import medium_cells, vision_tokens
        from vlm.lens.logits import nearest_words

        sequence, medium = run.trace.sequence, int(request["medium"])
        where = medium_cells(sequence, medium) if 0 <= medium < len(sequence.media) else slice(0, 0)
        tokens = vision_tokens(sequence)[where].tolist()
        first, count = (int(request["cell"]), 1) if "cell" in request else (0, int(request["cells"]))
        rows = tokens[first : first + count] if first >= 0 else []
        if not 0 < len(rows) == count <= WORDS:
            raise ValueError(f"no cells {first} … {first + count - 1} in medium {medium}")
        with self._lens(run).subject(sequence) as subject:
            found = nearest_words(subject, rows, _engine(run).tokenizer)
        each = [[[nearest.stage, nearest.words[index]] for nearest in found] for index in range(count)]
        return {"stages": each[0]} if "cell" in request else {"cells": each}

    def _patch(self, run: Run, request: dict) -> dict:
        places = [int(request[name]) for name in ("row", "column", "block")]
        heads = [int(request["head"])] if request.get("head") is not None else []
        with self._lens(run).subject(run.trace.sequence):  # the tower is the engine's: wait for its turn
            view = self._view(run, int(request["medium"]), int(request["frame"]))
            found = view.look(*places, heads, "max" if request.get("how") == "max" else "mean")
        return {
            **shades(found.weights.flatten()),
            "inside": _bytes(found.inside.flatten()),
            "windowed": found.windowed,
        }

    def _original(self, run: Run, request: dict) -> dict:
        """A frame of the file itself, to draw on."""
        from vlm.lens.original import LONGEST, original_picture

        medium, frame = int(request["medium"]), int(request["frame"])
        patches = _medium_of(run, medium, frame)
        file = run.files[medium] if run.files else None
        if file is None or not Path(file).is_file():
            raise Refused("The file is no longer there: this is the picture as the model saw it.")
        longest = max(1, min(LONGEST, int(request.get("longest", LONGEST))))
        picture = original_picture(self._open_media(file), patches, frame, longest)
        return {"image": draw.data_uri(np.asarray(picture), longest)}

    def _stages(self, run: Run, request: dict) -> dict:
        from ui.service.backend import OTHERS, open_config
        from vlm.lens.architecture import differences, stages

        engine = _engine(run)
        if not hasattr(engine, "model"):
            raise Refused("The model runs on another machine, which does not show its parts.")
        configs = {family: open_config(preset)[0] for family, preset in OTHERS.items()}
        configs[f"here: {engine.name}"] = engine.config
        return {
            "stages": [asdict(stage) for stage in stages(engine.model, run.trace.sequence)],
            "families": [[*row] for row in differences(configs)],
        }

    def _file(self, run: Run, request: dict) -> dict:
        """Every word's map as it was computed, as CSV or NPZ; in base64."""
        from vlm.lens.export import write_csv, write_npz

        words, sequence = self._words(run), run.trace.sequence
        looks, _ = self._looks(run, request, words)
        if request.get("kind") == "npz":
            return _npz(write_npz, sequence, words, looks)
        text = io.StringIO(newline="")
        write_csv(text, sequence, words, looks)
        return {"base64": base64.b64encode(text.getvalue().encode()).decode()}

    def _sides(self, run: Run, request: dict) -> dict:
        """The maps of both sides of the turn's last comparison as NPZ, in base64."""
        from vlm.lens.export import write_sides_npz

        if not any(side.looks for side in run.sides):
            raise Refused("There are no maps of this comparison: compare again.")
        return _npz(write_sides_npz, run.sides)

    # ---- what they share ------------------------------------------------------------------------
    def _lens(self, run: Run) -> Lens:
        from ui.service import zero
        from vlm.lens.subject import Lens

        if zero.HERE:
            raise Refused(SPACES)
        engine = _engine(run)
        if not run.trace.sequence.media or not self._words(run):
            raise Refused("There is no picture in this chat yet, or no word that could have looked at it.")
        last = self._last
        if last is None or last.engine is not engine:
            self.forget()
            last = self._last = Lens(engine)
        return last

    def _words(self, run: Run) -> list[Word]:
        from vlm.lens.words import answer_words

        return answer_words(run.trace, _engine(run).tokenizer)

    def _part(self, run: Run, request: dict) -> tuple[int, list[Word]]:
        words, first = self._words(run), int(request.get("first", 0))
        return first, words[max(0, first) : max(0, first) + WORDS]

    def _view(self, run: Run, medium: int, frame: int) -> TowerView:
        """The tower on one frame; the last ones are kept."""
        from vlm.lens.tower import TowerView

        engine, patches = _engine(run), _medium_of(run, medium, frame)
        key = patches.digest, patches.grid_thw, frame
        view = self._views.pop(key, None) or TowerView(engine.model, engine.config.pixels, patches, frame)
        self._views[key] = view
        while len(self._views) > 1 and sum(kept.nbytes for kept in self._views.values()) > VIEWS_BYTES:
            self._views.popitem(last=False)
        return view


def _engine(run: Run):
    engine = run.engine() if run.engine else None
    if engine is None:
        raise Refused(OTHER)
    return engine


def _medium_of(run: Run, medium: int, frame: int) -> Patches:
    media = run.trace.sequence.media
    if not (0 <= medium < len(media) and 0 <= frame < media[medium].grid_thw[0]):
        raise ValueError(f"no frame {frame} in medium {medium}")
    return media[medium]


def _npz(write: Callable, *what: object) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.npz"
        write(path, *what)
        return {"base64": base64.b64encode(path.read_bytes()).decode()}


def _bytes(values: np.ndarray) -> str:
    return base64.b64encode(np.asarray(values).round().astype(np.uint8).tobytes()).decode()


def shades(row: np.ndarray) -> dict:
    """A row of values as 255 steps of its largest, which stands beside it."""
    top = float(row.max(initial=0))
    return {"top": top, "shades": _bytes(255 * row / (top or 1))}
