"""``python -m vlm``: inspect what a model would see, chat with it, train it.

Exit code 2 and one line on stderr for anything the caller can mend.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from vlm.records import InputError, Progress, Step, Trace

Event = Progress | Step | Trace
app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)

Model = Annotated[str, typer.Option(help="'tiny', a checkpoint folder or a hub id")]
ConfigModel = Annotated[str, typer.Option("--model", help="the same, or a preset (see: models)")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output")]
Fps = Annotated[float | None, typer.Option(help="frames a second to sample from clips")]
MaxFrames = Annotated[int | None, typer.Option(help="most frames of a clip")]
MinPixels = Annotated[
    int | None, typer.Option(help="least pixels of a picture or of one frame, once resized")
]
MaxPixels = Annotated[int | None, typer.Option(help="most pixels of a picture or of one frame, once resized")]
Boxed = Annotated[
    bool, typer.Option("--sandbox", help="read the files in processes with limits on memory and time (Linux)")
]
Approximate = Annotated[
    bool,
    typer.Option("--approximate", help="nearest key frames of clips, large JPEGs at reduced size: quicker"),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto")]

QUANTIZE_HELP = "none, nf4 (or 4bit), int8 (or 8bit), int4 (quickest); auto: nf4 where the model does not fit"


@app.command()
def chat(
    prompt: Annotated[list[str], typer.Argument(help="a question; several are the turns of one chat")],
    model: Model = "tiny",
    image: Annotated[list[Path] | None, typer.Option(help="a picture; may be repeated")] = None,
    video: Annotated[list[Path] | None, typer.Option(help="a clip; may be repeated")] = None,
    max_new_tokens: int = 256,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token")] = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    stop: Annotated[list[str] | None, typer.Option(help="end before this text; may be repeated")] = None,
    seed: int | None = None,
    lookup: Annotated[
        int, typer.Option(help="tokens guessed from the text so far and checked at once; 0: none")
    ] = 0,
    logprobs: Annotated[bool, typer.Option("--logprobs", help="with --json: of every token")] = False,
    fps: Fps = None,
    max_frames: MaxFrames = None,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    approximate: Approximate = False,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float16 or float32")] = "auto",
    attention: Annotated[str, typer.Option(help="auto, flash, varlen, sdpa or eager")] = "auto",
    quantize: Annotated[str, typer.Option(help=QUANTIZE_HELP)] = "auto",
    engine: Annotated[str | None, typer.Option(help="ask a server instead: http://host:port/v1")] = None,
    config: Annotated[
        Path | None, typer.Option(help="with --engine: the model's config and tokenizer, if not --model's")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="with --engine; default: OPENAI_API_KEY")] = None,
    timeout: Annotated[float, typer.Option(help="with --engine: seconds that it may be silent")] = 300.0,
    sandbox: Boxed = False,
    as_json: AsJson = False,
) -> None:
    """Ask; the answer streams. With --json a line {"answer": …, "stats": {…}} follows each answer."""
    from vlm.chat.sampling import Sampling
    from vlm.chat.session import ChatSession
    from vlm.engines import open_engine
    from vlm.inputs.media import MediaOptions

    sampling = Sampling(
        max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, seed,
        tuple(stop or ()), logprobs, lookup,
    )  # fmt: skip
    options = MediaOptions(
        fps=fps, max_frames=max_frames, min_pixels=min_pixels, max_pixels=max_pixels, approximate=approximate
    )
    there = {"engine": engine, "config": config, "api_key": api_key, "timeout": timeout}
    here = {"device": device, "dtype": dtype, "attention": attention, "quantize": quantize}
    session = ChatSession(open_engine(model, **there, **here), _opener(sandbox))
    files = [*(image or ()), *(video or ())]
    for question in prompt:
        _tell(session.ask(question, files, sampling, options), as_json)
        files = []


def _opener(boxed: bool) -> Callable:
    """How files are opened."""
    from vlm.inputs.media import open_media
    from vlm.inputs.sandbox import AVAILABLE, Sandbox

    if boxed and not AVAILABLE:
        raise InputError("--sandbox needs Linux: leave it out")
    return Sandbox().open if boxed else open_media


def _tell(events: Iterable[Event], as_json: bool) -> None:
    """Print one answer as it comes."""
    logprobs = []
    for event in events:
        if isinstance(event, Step):
            typer.echo(event.text, nl=False)
            logprobs += [] if event.logprob is None else [round(event.logprob, 4)]
        elif isinstance(event, Progress) and sys.stderr.isatty():
            typer.echo(f"{event.detail} …", err=True)
        elif isinstance(event, Trace):
            typer.echo()
            if as_json:
                said = {"answer": event.answer, "finish": event.finish, "stats": event.stats}
                said |= {"logprobs": logprobs} if logprobs else {}
                typer.echo(json.dumps(said, ensure_ascii=False))
            for note in event.stats.get("notes", ()):
                typer.echo(f"vlm: {note}", err=True)
            if event.finish == "cut":
                sys.exit(2)


@app.command()
def inspect(
    media: list[Path],
    model: ConfigModel = "tiny",
    prompt: Annotated[str, typer.Option(help="text that follows the media")] = "Describe this.",
    fps: Fps = None,
    max_frames: MaxFrames = None,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    approximate: Approximate = False,
    positions: Annotated[
        Path | None, typer.Option(help="write input_ids and position_ids to this .npz")
    ] = None,
    sandbox: Boxed = False,
    as_json: AsJson = False,
) -> None:
    """Show what a model would make of files: sizes, patches, tokens, positions. Needs no weights."""
    from vlm.families.checkpoint import open_config
    from vlm.inputs.media import MediaOptions
    from vlm.report import inspect_media, write_positions

    config, tokenizer = open_config(model)
    options = MediaOptions(
        fps=fps, max_frames=max_frames, min_pixels=min_pixels, max_pixels=max_pixels, approximate=approximate
    )
    report, sequence = inspect_media(media, model, config, tokenizer, prompt, options, _opener(sandbox))
    if positions:
        write_positions(sequence, positions)
    typer.echo(json.dumps(report, ensure_ascii=False) if as_json else _table(report))


def _table(report: dict) -> str:
    lines = [_medium_line(medium) for medium in report["media"]]
    totals = (
        "vision_tokens", "text_tokens", "special_tokens", "sequence_length", "context_length", "rope_delta"
    )  # fmt: skip
    lines += [f"{name.replace('_', ' ')}: {report[name]}" for name in totals if report[name] is not None]
    return "\n".join([*lines, *report["notes"]])


def _medium_line(medium: dict) -> str:
    t, h, w = medium["grid_thw"]
    sizes = f"{medium['width']}×{medium['height']} → {medium['resized_width']}×{medium['resized_height']}"
    return (
        f"{medium['file']}: {medium['kind']} {sizes} → {t}×{h}×{w} = {medium['patches']} patches "
        f"→ {medium['tokens']} tokens"
    )


@app.command()
def tree(
    model: Annotated[str, typer.Argument(help="tiny, a folder, a hub id or a preset")],
    as_json: AsJson = False,
) -> None:
    """The module tree with shapes and parameter counts, at full size, without its memory."""
    from vlm.families.checkpoint import meta_model
    from vlm.lens.architecture import module_tree
    from vlm.report import tree_lines

    built, shapes = meta_model(model)
    if as_json:
        parameters = sum(parameter.numel() for parameter in built.parameters())
        typer.echo(json.dumps({"parameters": parameters, "tensors": shapes}))
    else:
        typer.echo("\n".join(tree_lines(module_tree(built))))


@app.command()
def models(as_json: AsJson = False) -> None:
    """The models known by name: parameters, context, memory of the weights in bfloat16 and 4 bits."""
    from vlm.families.checkpoint import meta_model
    from vlm.families.naming import presets
    from vlm.report import model_row

    rows = [model_row(name, meta_model(name)[0]) for name in ("tiny", *presets())]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(
            f"{row['name']:<22}{row['parameters'] / 1e9:8.3f} B {row['context_length']:>8,} tokens"
            f"{row['bf16_bytes'] / 2**30:8.2f} GiB bf16{row['nf4_bytes'] / 2**30:8.2f} GiB 4-bit"
        )


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="folder of the run; a run found there goes on")],
    init: Annotated[
        str | None,
        typer.Option(help="model to start from: 'tiny', a folder or a hub id; default: from nothing"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help=".jsonl file or folder of your own conversations; default: drawn scenes"),
    ] = None,
    lora: Annotated[int, typer.Option(help="rank of LoRA adapters; 0 trains the weights themselves")] = 0,
    steps: int = 3_000,
    batch: Annotated[int, typer.Option(help="pictures or conversations a step and process")] = 32,
    segments: Annotated[int, typer.Option(help="questions a drawn picture")] = 8,
    tower: Annotated[
        float | None,
        typer.Option(help="peak learning rate; 0 freezes the stage; default 2e-3, with --data 1e-4"),
    ] = None,
    connector: Annotated[float | None, typer.Option(help="the same")] = None,
    decoder: Annotated[float | None, typer.Option(help="the same")] = None,
    warmup: Annotated[int, typer.Option(help="steps over which the rates rise")] = 100,
    decay: Annotated[float, typer.Option(help="share of the run over which the rates fall to zero")] = 0.5,
    clip: Annotated[float, typer.Option(help="longest gradient")] = 1.0,
    cells: Annotated[float, typer.Option(help="weight of the auxiliary losses of drawn scenes")] = 1.0,
    curriculum_start: Annotated[float, typer.Option(help="0 from one plain thing … 1 full difficulty")] = 0.0,
    save_every: int = 100,
    eval_every: int = 250,
    seed: int = 0,
    device: Device = "auto",
    compile_blocks: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="default: only for drawn scenes")
    ] = None,
) -> None:
    """Train on drawn scenes or on your own data; resumes where OUT left off.

    Several processes: torchrun --nproc-per-node N -m vlm train …
    """
    from vlm.train.train import TrainOptions
    from vlm.train.train import train as run

    usual = 1e-4 if data else 2e-3
    rates = {"tower": tower, "connector": connector, "decoder": decoder}
    options = TrainOptions(
        out=out, init=init, data=data, lora=lora, steps=steps, batch=batch, segments=segments,
        **{stage: usual if rate is None else rate for stage, rate in rates.items()},
        warmup=warmup, decay=decay, clip=clip, muon=data is None, cells=cells,
        curriculum_start=curriculum_start, save_every=save_every, eval_every=eval_every, seed=seed,
        device=device, compile=data is None if compile_blocks is None else compile_blocks,
    )  # fmt: skip
    typer.echo(f"model written to {run(options)}")


@app.command()
def evaluate(
    model: Model = "tiny",
    questions: Annotated[int, typer.Option(help="about how many to ask of each medium and wording")] = 4_000,
    card: Annotated[Path | None, typer.Option(help="model card whose figures are rewritten")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model on held-out scenes by kind of question, each beside the wrong-picture baseline."""
    from vlm.bench.answers import measure
    from vlm.families.checkpoint import open_checkpoint
    from vlm.train import card as cards
    from vlm.train import looking

    checkpoint = open_checkpoint(model)
    scores = cards.full_scores(checkpoint, questions)
    if card:
        cards.write_card(card, scores, measure(checkpoint.folder))
        looking.write_looking(card, looking.measure(checkpoint, questions // 12, questions // 6))
    if as_json:
        typer.echo(json.dumps(cards.as_json(scores)))
    else:
        typer.echo(f"{cards.promises_table(cards.judged(scores))}\n\n{cards.scores_table(scores)}")


@app.command()
def bench(
    model: Annotated[str, typer.Option(help="a preset (see: models), with random weights")] = "qwen3-vl-2b",
    device: Device = "cpu",
    quick: Annotated[
        bool, typer.Option("--quick", help="fewer layers and runs, smaller pictures and clips")
    ] = False,
    row: Annotated[list[str] | None, typer.Option(help="only this group of rows; may be repeated")] = None,
    write: Annotated[
        Path | None, typer.Option(help="write performance.md and its picture to this folder")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this machine: a table of rows, each a ratio from one run (above 1: ours is better)."""
    from vlm.bench import rows as shown
    from vlm.bench.page import write_page
    from vlm.bench.suite import Suite

    suite = Suite(model, device, quick)
    facts = shown.machine(device) | suite.limits.facts()
    measured = []
    for one in suite.measure(tuple(row or ())):
        measured.append(one)
        if sys.stderr.isatty() or write:
            typer.echo(f"{one.name}: {one.ours:,.1f} {one.unit}", err=True)
    if write:
        write_page(write, measured, facts)
    typer.echo(json.dumps(shown.as_json(measured, facts)) if as_json else shown.table(measured))


def main() -> None:
    try:
        app()
    except InputError as error:
        typer.echo(f"vlm: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
