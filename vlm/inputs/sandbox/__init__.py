"""Untrusted files are read in processes of their own: a hostile one ends its reader, never the program."""

from vlm.inputs.sandbox.limits import Limits
from vlm.inputs.sandbox.opening import AVAILABLE, Sandbox

__all__ = ["AVAILABLE", "Limits", "Sandbox"]
