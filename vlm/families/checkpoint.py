"""Opening and saving a checkpoint: JSON files, tokenizer and weights together."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from vlm.config import ModelConfig
from vlm.families import bounds
from vlm.families.base import Checkpoint, Family, Files, with_heads
from vlm.families.naming import TINY, find_folder, read_files, tokenizer_folder
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.attention import Backend
from vlm.models.backends import resolve_backend
from vlm.models.devices import free_bytes
from vlm.models.model import VisionLanguageModel
from vlm.records import InputError
from vlm.weights.choose import choose
from vlm.weights.load import key_table, official_shape, read_weights, save_weights
from vlm.weights.quantize import quantise_head
from vlm.weights.stored import stored_in

CACHE = 32 * 2**20  # bytes: what the caches of a usual processor hold
SIDE_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)


def find_family(config: dict) -> Family:
    from vlm.families import FAMILIES

    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise InputError(f"model type {model_type!r} is not supported; supported: {', '.join(FAMILIES)}")
    return FAMILIES[model_type]


def read_config(files: Files) -> ModelConfig:
    """The config that a checkpoint's JSON files describe.

    Raises:
        InputError: an unsupported family, something missing, or figures that cannot be right.
    """
    try:
        return with_heads(bounds.check(find_family(files.config).read(files)), files.lens)
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"config.json is not complete: {error} is missing") from error
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(f"config.json holds something of the wrong kind: {error}") from error


def open_config(name: str | Path) -> tuple[ModelConfig, Tokenizer | None]:
    """Only the config of a model and, where its files are there, its tokenizer; no weights."""
    files = read_files(name)
    folder = tokenizer_folder(name)
    return read_config(files), Tokenizer(folder) if folder else None


def open_checkpoint(
    name: str | Path = "tiny",
    *,
    device: torch.device | str = "auto",
    dtype: torch.dtype | str = "auto",
    attention: Backend | str = "auto",
    quantize: str = "none",
) -> Checkpoint:
    """Load a model: ``tiny`` (the embedded one), a folder in the official layout, or a hub id.

    Args:
        device: ``auto`` is cuda where it is there, else cpu.
        dtype: a torch dtype or its name; ``auto`` keeps what is on disk, and so does ``fast``, but that a CPU
            computes in float32 what its cache holds whole: it is quicker there.
        attention: ``auto`` takes the fastest backend that answers a probe on this device.
        quantize: ``none``, ``nf4``, ``int8`` or ``int4`` for the decoder's matrices, int4 for its head too;
            ``auto`` is nf4 where the weights and the cache of the whole context do not fit the free memory.
            Files that are quantised already
            stay so with ``auto`` and are unpacked with ``none``.

    Raises:
        InputError: no such model, an unsupported family, a device that is not there, or weights that
            do not fit.
    """
    device, chosen = resolve_device(device), _resolve_dtype(dtype)  # before anything is fetched
    folder = find_folder(name, weights=True)
    files = read_files(folder)
    config = read_config(files)
    stored = stored_in(files.config)
    model = _without_memory(config)
    plain = stored.mode is None and quantize in ("none", "auto")
    if dtype == "fast" and plain and device.type == "cpu" and _fits_cache(model):
        chosen = torch.float32
    full = chosen or _dtype_on_disk(files.config)
    choice = choose(quantize, model, config.decoder, full, free_bytes(device), stored.mode)
    quantize = "stored" if choice.as_stored else choice.mode
    layouts = find_family(files.config).layouts
    read_weights(model, folder, layouts, device=device, dtype=chosen, quantize=quantize, stored=stored)
    if choice.mode == "int4":
        quantise_head(model, choice.mode)
    model.quantization = choice.mode
    heads = (config.vision.head_dim, config.decoder.head_dim)
    model.backend = resolve_backend(attention, model.device, model.dtype, heads)
    name = "tiny" if folder == TINY else folder.name
    return Checkpoint(name, folder, config, model, Tokenizer(folder), choice.mode, choice.reason)


def _fits_cache(model: VisionLanguageModel) -> bool:
    """Whether its weights in float32 do. Reading them is then nothing, and 16 bits cost conversions."""
    return 4 * sum(parameter.numel() for parameter in model.parameters()) <= CACHE


def _without_memory(config: ModelConfig) -> VisionLanguageModel:
    with torch.device("meta"):
        return VisionLanguageModel(config)


def meta_model(name: str | Path) -> tuple[VisionLanguageModel, dict[str, tuple[int, ...]]]:
    """A model at full size without memory, and the shape of every official tensor by name."""
    files = read_files(name)
    model = _without_memory(read_config(files))
    table = key_table(model, find_family(files.config).layouts[0])
    patch = patch_shape(model.config)
    shapes = {
        table[ours]: official_shape(ours, tuple(tensor.shape), patch)
        for ours, tensor in model.named_parameters()
    }
    return model, shapes


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write weights, configs and tokenizer to ``folder``, loadable by us and by transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    family = find_family(read_files(checkpoint.folder).config)
    save_weights(checkpoint.model, folder, family.layouts[0], patch_shape(checkpoint.config))
    for name in SIDE_FILES:
        source = checkpoint.folder / name
        if source.is_file() and source.resolve() != (folder / name).resolve():
            shutil.copyfile(source, folder / name)


def patch_shape(config: ModelConfig) -> tuple[int, int, int, int]:
    """(C, temporal, patch, patch): one flattened patch as the official Conv3d sees it."""
    vision = config.vision
    return vision.in_channels, vision.temporal_patch_size, vision.patch_size, vision.patch_size


def resolve_device(device: torch.device | str) -> torch.device:
    """``auto`` becomes cuda where it is there, else cpu."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {str(device)!r} is not known: use auto, cpu or cuda") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda was asked for, but PyTorch sees no GPU: use --device cpu")
    return resolved


def _dtype_on_disk(config: dict) -> torch.dtype:
    """What a config says of its weights; bfloat16 where it says nothing."""
    text = config.get("text_config") or config
    named = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    return _resolve_dtype(named or "auto") or torch.bfloat16


def _resolve_dtype(dtype: torch.dtype | str) -> torch.dtype | None:
    if isinstance(dtype, torch.dtype):
        return dtype
    known = {"auto": None, "fast": None}
    known |= {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in known:
        raise InputError(f"dtype {dtype!r} is not known: use {', '.join(known)}")
    return known[dtype]
