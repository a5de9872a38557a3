"""One thin recipe per model family, and the door that opens a checkpoint.

Nothing outside this folder asks which family a model is: a recipe turns every difference into a config
field, a table entry or a constructor argument.
"""

from __future__ import annotations

from vlm.families import qwen2_5_vl, qwen2_vl, qwen3_vl
from vlm.families.base import Checkpoint, Family
from vlm.families.checkpoint import find_family, open_checkpoint, save_checkpoint

__all__ = ["FAMILIES", "Checkpoint", "Family", "find_family", "open_checkpoint", "save_checkpoint"]

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (qwen2_vl.FAMILY, qwen2_5_vl.FAMILY, qwen3_vl.FAMILY, qwen3_vl.MOE_FAMILY)
}
