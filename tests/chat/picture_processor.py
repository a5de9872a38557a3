"""The processor that `transformers serve` loads from the served copy of the embedded model.

The official one also wants a video processor, and that one wants torchvision, which is not installed.
"""

from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor


class PictureProcessor(Qwen3VLProcessor):
    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs):
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)
