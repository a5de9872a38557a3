"""Opening and saving a checkpoint folder: JSON files, tokenizer and weights together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from vlm.config import ModelConfig
from vlm.families.base import Checkpoint, Family, Files
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.attention import Backend
from vlm.models.model import VisionLanguageModel
from vlm.records import InputError
from vlm.weights.load import read_weights, save_weights

TINY = Path(__file__).parent.parent / "tiny"
SIDE_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


def find_family(config: dict) -> Family:
    from vlm.families import FAMILIES

    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise InputError(f"model type {model_type!r} is not supported; supported: {', '.join(FAMILIES)}")
    return FAMILIES[model_type]


def read_files(folder: Path) -> Files:
    """The JSON files of a checkpoint folder."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json: give a checkpoint folder or 'tiny'")
    names = ("config", "preprocessor_config", "video_preprocessor_config", "generation_config")
    return Files(*(_read_json(folder / f"{name}.json") for name in names))


def folder_of(name: str | Path) -> Path:
    """The folder behind a model's name: the embedded model or a local folder."""
    folder = TINY if str(name) == "tiny" else Path(name)
    if not folder.is_dir():
        raise InputError(f"no model {str(name)!r}: give 'tiny' or a checkpoint folder")
    return folder


def open_config(name: str | Path) -> tuple[ModelConfig, Tokenizer | None]:
    """Only the config of a model and, where its files are there, its tokenizer; no weights."""
    folder = folder_of(name)
    files = read_files(folder)
    has_tokenizer = (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()
    return find_family(files.config).read(files), Tokenizer(folder) if has_tokenizer else None


def resolve_device(device: torch.device | str) -> torch.device:
    """``auto`` becomes cuda where it is there, else cpu."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise InputError("device cuda was asked for, but PyTorch sees no GPU: use --device cpu")
    return torch.device(device)


def open_checkpoint(
    name: str | Path = "tiny",
    *,
    device: torch.device | str = "auto",
    dtype: torch.dtype | None = None,
    backend: Backend = "sdpa",
) -> Checkpoint:
    """Load ``tiny`` (the embedded model) or a local folder in the official layout.

    Raises:
        InputError: no such folder, an unsupported family, or weights that do not fit.
    """
    folder = folder_of(name)
    files = read_files(folder)
    family = find_family(files.config)
    config = family.read(files)
    with torch.device("meta"):
        model = VisionLanguageModel(config, backend)
    read_weights(model, folder, family.layouts, device=resolve_device(device), dtype=dtype)
    return Checkpoint("tiny" if folder == TINY else folder.name, folder, config, model, Tokenizer(folder))


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write weights, configs and tokenizer to ``folder``, loadable by us and by transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    vision = checkpoint.config.vision
    family = find_family(read_files(checkpoint.folder).config)
    shape = (vision.in_channels, vision.temporal_patch_size, vision.patch_size, vision.patch_size)
    save_weights(checkpoint.model, folder, family.layouts[0], shape)
    for name in SIDE_FILES:
        source = checkpoint.folder / name
        if source.is_file() and source.resolve() != (folder / name).resolve():
            shutil.copyfile(source, folder / name)


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"{path.name} is not valid JSON: {error}") from error
