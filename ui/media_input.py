"""Files in a call of an endpoint: uploads, data URIs, and addresses of files that were uploaded here."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import gradio as gr
from gradio.data_classes import FileData, GradioRootModel
from gradio.processing_utils import save_base64_to_cache
from gradio.utils import get_upload_folder

_ROUTE = "/gradio_api/file="
_WORDS = (
    "Pictures and clips: each a data URI (data:image/png;base64,…) or the address of a file uploaded "
    "to this server, such as the tool upload_file_to_gradio gives. Other addresses are not fetched."
)


class _Files(GradioRootModel):
    root: list[FileData | str]


class MediaInput(gr.File):
    """A list of files. Gradio's own describes lists to MCP clients by a schema that none can resolve."""

    is_template = True  # else Gradio looks for a front end of its own
    data_model = _Files

    def __init__(self, label: str):
        super().__init__(label=label, file_count="multiple", file_types=["image", "video"], type="filepath")
        self.data_model = _Files

    def api_info(self) -> dict:
        return {"type": "array", "items": {"type": "string"}, "description": _WORDS}

    def preprocess(self, payload: _Files | None) -> list[str]:
        """Paths of local files.

        Raises:
            gr.Error: an address that is not one of ours, or no file.
        """
        return [_local(item) for item in payload.root] if payload else []


def _local(item: FileData | str) -> str:
    if isinstance(item, FileData):
        return item.path
    if item.startswith("data:"):
        try:
            return save_base64_to_cache(item, get_upload_folder())
        except (ValueError, IndexError) as error:
            raise gr.Error("A data URI could not be read.", print_exception=False) from error
    _, route, path = unquote(urlsplit(item).path if "://" in item else item).partition(_ROUTE)
    path = Path(path if route else item).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise gr.Error("Only files that were uploaded here can be used: " + _WORDS, print_exception=False)
    return str(path)
