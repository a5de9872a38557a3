"""Copies to a GPU, with a stand-in for the tensor: the real thing needs one and was not run."""

from __future__ import annotations

import torch

from vlm.models.devices import to_device


class Noted:
    """A tensor in main memory that notes what is asked of it."""

    device = torch.device("cpu")

    def __init__(self, *asked):
        self.asked = asked

    def pin_memory(self):
        return Noted(*self.asked, "pin")

    def to(self, device, non_blocking=False):
        return Noted(*self.asked, (str(device), non_blocking))


def test_pixels_go_to_a_gpu_from_locked_memory_without_waiting():
    assert to_device(Noted(), torch.device("cuda")).asked == ("pin", ("cuda", True))


def test_nothing_is_copied_on_a_cpu():
    x = torch.ones(3)
    assert to_device(x, torch.device("cpu")) is x
    assert to_device(Noted(), torch.device("cpu")).asked == (("cpu", False),)


def test_what_lies_on_the_gpu_is_not_locked():
    there = Noted()
    there.device = torch.device("cuda", 0)
    assert "pin" not in to_device(there, torch.device("cuda", 0)).asked
