"""Instruments that look inside a turn after it was answered.

The model runs on its fast path and stores no maps. An instrument recomputes what it is asked for, a few rows
of the sequence at a time, against the keys and values that the chat's cache still holds::

    with Lens(engine).subject(trace.sequence) as subject:
        looks = look(subject, answer_words(trace, engine.tokenizer), engine.config.grounding_heads)

- `vlm.lens.attention`: where the words of the answer looked, by layer and head; which words looked at a cell.
- `vlm.lens.tower`: where a patch looks in the vision tower. `vlm.lens.logits`: the words a vision token is
  nearest to. `vlm.lens.confidence`: how likely each token was, and what else might have stood there.
- `vlm.lens.regions`: boxes and points in an answer. `vlm.lens.original`: the file that they are drawn on.
- `vlm.lens.architecture`: stages, shapes and memory.
- `vlm.lens.compare`: one turn under two settings. `vlm.lens.export`: PNG, CSV and NPZ.
"""
