"""Where words of an answer looked: ``python examples/where_it_looks.py examples/shapes.png "Describe it."``.

Writes heat maps (PNG) and all maps (NPZ). Prints each word with its brightest cell, how sure the model was,
and the words that this cell is nearest to after the last layer.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlm.chat.session import ChatSession
from vlm.engines import open_engine
from vlm.lens.attention import look, vision_tokens
from vlm.lens.confidence import confidence, word_probability
from vlm.lens.export import cell_map, heat_picture, write_npz
from vlm.lens.logits import nearest_words
from vlm.lens.subject import Lens
from vlm.lens.words import answer_words


def main(file: str, question: str, folder: str = "looks") -> None:
    engine = open_engine("tiny")
    *_, trace = ChatSession(engine).ask(question, [file])
    words, out = answer_words(trace, engine.tokenizer), Path(folder)
    out.mkdir(exist_ok=True)
    with Lens(engine).subject(trace.sequence) as subject:
        looks = look(subject, words, engine.config.looking_heads)
        sure = confidence(subject, words, engine.tokenizer)
        peaks = [int(row.argmax()) for row in looks.maps]
        rows = vision_tokens(trace.sequence)[peaks].tolist()
        last = [nearest_words(subject, [row], engine.tokenizer, 3)[-1].words[0] for row in rows]
    for number, (word, peak) in enumerate(zip(words, peaks, strict=True)):
        cells = cell_map(trace.sequence, 0, looks.maps[number])
        step = peak // (cells.shape[1] * cells.shape[2])
        heat_picture(trace.sequence.media[0], cells[step], step).save(out / f"{number:02}.png")
        said = ", ".join(text.strip() for text, _ in last[number])
        print(f"{word.text.strip():12} cell {peak:3}  {word_probability(sure[number]):4.0%} sure  ({said})")
    write_npz(out / "looks.npz", trace.sequence, words, looks)
    print(f"{len(words)} pictures and looks.npz are in {out}/")


if __name__ == "__main__":
    main(*sys.argv[1:4])
