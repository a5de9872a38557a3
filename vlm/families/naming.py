"""What a model's name may be: ``tiny``, a local folder, a preset or a repository on the Hugging Face hub."""

from __future__ import annotations

import json
import re
from pathlib import Path

from vlm.families.base import Files
from vlm.records import InputError

TINY = Path(__file__).parent.parent / "tiny"
PRESETS = Path(__file__).parent / "presets"
CONFIG_FILES = ("*.json", "*.jinja", "merges.txt")
MAX_JSON = 2**24  # bytes of a config; official ones have a few thousand
HELP = "give 'tiny', a checkpoint folder, a hub id such as Qwen/Qwen3-VL-2B-Instruct, or a preset"


def presets() -> dict[str, Path]:
    """Name → config file of every official size that is known without its weights."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.json"))}


def is_preset(name: str | Path) -> bool:
    """Whether ``name`` means a preset; a folder of the same name comes first."""
    return str(name) in presets() and not Path(name).is_dir()


def find_folder(name: str | Path, *, weights: bool) -> Path:
    """The local folder of a model, fetched from the hub where ``name`` is a repository id.

    Args:
        weights: also fetch the safetensors files, not only configs and tokenizer.

    Raises:
        InputError: nothing of that name, a preset (which has no weights), or the hub cannot be reached.
    """
    folder = TINY if str(name) == "tiny" else Path(name)
    if folder.is_dir():
        return folder
    if is_preset(name):
        raise InputError(
            f"{name} is a preset: a config without weights; give a checkpoint folder or a hub id"
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        return _from_hub(str(name), weights)
    raise InputError(f"no model {str(name)!r}: {HELP}")


def read_files(name: str | Path) -> Files:
    """The JSON files of a model by name; a preset has only its config."""
    if is_preset(name):
        return Files(_read_json(presets()[str(name)]), {}, {}, {})
    folder = find_folder(name, weights=False)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder.name} holds no config.json: {HELP}")
    names = ("config", "preprocessor_config", "video_preprocessor_config", "generation_config", "lens")
    config, images, videos, generation, lens = (_read_json(folder / f"{name}.json") for name in names)
    both = _read_json(folder / "processor_config.json")  # transformers 5 saves the processors in this one
    images, videos = images or both.get("image_processor", {}), videos or both.get("video_processor", {})
    return Files(config, images, videos, generation, lens)


def tokenizer_folder(name: str | Path) -> Path | None:
    """Where the model's tokenizer files lie; None for a preset or a folder without them."""
    if is_preset(name):
        return None
    folder = find_folder(name, weights=False)
    return folder if any((folder / file).is_file() for file in ("tokenizer.json", "vocab.json")) else None


def _from_hub(repository: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    patterns = [*CONFIG_FILES, *(("*.safetensors",) if weights else ())]
    try:
        # Configs and tensors only, nothing that runs, so whatever revision is the newest will do.
        return Path(snapshot_download(repository, allow_patterns=patterns))  # nosec B615
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise InputError(
            f"{repository} could not be fetched from the hub ({type(error).__name__}): "
            "check the name and the network, or give a local checkpoint folder"
        ) from error


def _read_json(path: Path) -> dict:
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JSON:
        raise InputError(f"{path.name} is too large for a config")
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path.name} holds no JSON object")
    return found
