"""docs/performance.md and its picture, written from the rows of one run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from vlm.bench.rows import Row, table

PICTURE = "performance.png"
_TEXT = """\
# How fast it is

Written by `make bench` (`python -m vlm bench --write docs`); run it again to measure your machine.

{machine}

Ratios compare medians of alternating runs within one run of the command, so other work on the machine
slows both sides; above 1 ours is faster. The reference is `transformers` {transformers} with its fused
attention, on the same random bfloat16 weights in the same memory, unless the row says otherwise. Limits come
from this machine's own speed just before each run: memory read by a matrix times a vector ("read gb s"),
and a square product in bfloat16 ("gflop s"). "At most" is the ratio of a program that works at that limit.

![Ratios of this run]({picture})

## Rows

{rows}

## Against size

{scaling}

## Not measured

Rows that `python -m vlm bench` has and these tables lack were not measured here yet.

Nothing here has run on a GPU: neither CUDA graphs, nor FlashAttention, nor 4 bits on CUDA. What of that code
can run on a CPU is tested with stand-ins; `python -m vlm bench --device cuda` measures it.
"""


def write_page(folder: Path, rows: list[Row], facts: dict) -> None:
    """Write performance.md and its picture into ``folder``.

    performance.json beside them keeps the rows, so that some can be measured again: they take the place of
    the earlier ones, each with the machine's state of its own run.
    """
    import transformers

    kept = folder / "performance.json"
    known = json.loads(kept.read_text()) if kept.is_file() else {}
    known |= {row.name: {"row": asdict(row), "machine": facts} for row in rows}
    kept.write_text(json.dumps(known, indent=1))
    everything = [Row(**entry["row"]) for entry in known.values()]
    scaling = [row for row in everything if row.name.startswith(("vision_tokens_", "cache_", "frames_"))]
    main = [row for row in everything if row not in scaling]
    draw(main, scaling, folder / PICTURE)
    text = _TEXT.format(
        machine=_machines([entry["machine"] for entry in known.values()]),
        transformers=transformers.__version__, picture=PICTURE, rows=table(main), scaling=table(scaling),
    )  # fmt: skip
    (folder / "performance.md").write_text(text, encoding="utf-8")


def _machines(runs: list[dict]) -> str:
    """What all runs share, and the range of what they do not."""
    told = []
    for name in runs[0]:
        values = [run.get(name) for run in runs]
        if len({str(value) for value in values}) == 1:
            told.append(f"{name.replace('_', ' ')} {values[0]}")
        elif all(isinstance(value, int | float) for value in values):
            told.append(f"{name.replace('_', ' ')} {min(values)} to {max(values)}")
        else:
            told.append(f"{name.replace('_', ' ')} {' or '.join(sorted({str(value) for value in values}))}")
    return f"Machine: {', '.join(told)}."


def draw(main: list[Row], scaling: list[Row], path: Path) -> None:
    """Bars of the ratios, and time against size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    compared = [row for row in main if row.ratio is not None][::-1]
    figure, (bars, lines) = pyplot.subplots(1, 2, figsize=(12, 0.3 * len(compared) + 2), layout="constrained")
    bars.barh([row.name for row in compared], [row.ratio for row in compared], color="#2a9d8f")
    bars.axvline(1, color="black", linewidth=0.8)
    bars.set(xscale="log", xlabel="times as good as the reference")
    for index, row in enumerate(compared):
        bars.annotate(f" {row.ratio:.2f}", (row.ratio, index), va="center", fontsize=8)
    for kind, label in (("vision_tokens", "vision tokens"), ("cache", "cached tokens"), ("frames", "frames")):
        own = [row for row in scaling if row.name.startswith(f"{kind}_")]
        if not own:
            continue
        sizes = [int(row.name.rpartition("_")[2]) for row in own]
        (line,) = lines.plot(sizes, [row.ours for row in own], marker="o", label=f"{label}, ours")
        both = [(size, row.reference) for size, row in zip(sizes, own, strict=True) if row.reference]
        lines.plot(
            *zip(*both, strict=True),
            marker="x",
            linestyle="--",
            color=line.get_color(),
            label=f"{label}, reference",
        )
    if scaling:
        lines.set(xscale="log", yscale="log", xlabel="size", ylabel="ms (few layers)")
        lines.legend(fontsize=8)
    else:
        lines.set_axis_off()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
