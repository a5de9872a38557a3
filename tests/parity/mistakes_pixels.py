"""Mistakes on the way to patches, and in heads and norms, each as a change that can be put in for one test.

A mistake takes pytest's monkeypatch and a twin; `test_mistakes.py` says which comparison must see it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from vlm.inputs import patches
from vlm.models import attention
from vlm.models.decoder import Decoder, DecoderAttention


def resized_twice(patch, twin):
    original = patches.to_patches

    def twice(frames, config):
        once = original(frames, config).resized
        smaller = Image.fromarray(once[0]).resize((once.shape[2] // 2, once.shape[1] // 2))
        return original(replace(frames, pixels=np.asarray(smaller)[None]), config)

    patch.setattr(patches, "to_patches", twice)


def factor_28_for_all(patch, twin):
    """The size is chosen in steps of 28 and then cut to what patches of 16 can cover."""
    original = patches.target_size

    def size(kind, frames, height, width, config):
        wrong = replace(config, patch_size=14)
        return tuple(
            edge // config.factor * config.factor for edge in original(kind, frames, height, width, wrong)
        )

    patch.setattr(patches, "target_size", size)


def bilinear(patch, twin):
    _resize_by(patch, Image.Resampling.BILINEAR, mode="bilinear", antialias=True)


def no_antialias(patch, twin):
    """Pillow always smooths, so both kinds go through torch without it."""
    _resize_by(patch, None, mode="bicubic", antialias=False)


def _resize_by(patch, filter_, **options):
    def resize(frames, size):
        if filter_ is not None and frames.kind == "image":
            picture = Image.fromarray(frames.pixels[0]).resize(size[::-1], filter_)
            return np.asarray(picture)[None]
        pixels = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)
        return F.interpolate(pixels, size=size, **options).permute(0, 2, 3, 1).contiguous().numpy()

    patch.setattr(patches, "_resize", resize)


def sampled_twice(patch, twin):
    original = patches.to_patches

    def again(frames, config):
        return original(replace(frames, pixels=frames.pixels[::2], timestamps=frames.timestamps[::2]), config)

    patch.setattr(patches, "to_patches", again)


def last_frame_dropped(patch, twin):
    """An odd count is cut instead of filled up; a clip of one frame has nothing left."""
    original = patches.fit_frames

    def fit(frames, config):
        whole = len(frames.pixels) - len(frames.pixels) % config.temporal_patch_size
        if not whole:
            return replace(original(frames, config), grid_thw=(0, 0, 0))
        kept = replace(frames, pixels=frames.pixels[:whole], timestamps=frames.timestamps[:whole])
        return original(kept, config)

    patch.setattr(patches, "fit_frames", fit)


def filled_with_black(patch, twin):
    original = patches._cut
    black = lambda x: torch.cat((x, torch.zeros_like(x[:1]))) if len(x) % 2 else x  # noqa: E731
    patch.setattr(patches, "_cut", lambda x, config: original(black(x), config))


def wrong_mean(patch, twin):
    config = twin.ours.config.pixels
    mean = (0.5,) * 3 if config.image_mean[0] != 0.5 else (0.48145466, 0.4578275, 0.40821073)
    original = patches._normalise
    patch.setattr(patches, "_normalise", lambda x, own: original(x, replace(own, image_mean=mean)))


def patches_in_raster_order(patch, twin):
    def cut(x, config):
        side, temporal = config.patch_size, config.temporal_patch_size
        x = torch.cat((x, x[-1:])) if len(x) % temporal else x
        t, h, w = len(x) // temporal, x.shape[2] // side, x.shape[3] // side
        cells = x.view(t, temporal, 3, h, side, w, side).permute(0, 3, 5, 2, 1, 4, 6)
        return cells.reshape(t * h * w, -1)

    patch.setattr(patches, "_cut", cut)


def head_not_tied(patch, twin):
    head = torch.nn.Parameter(torch.randn_like(twin.ours.model.decoder.embed_tokens.weight))
    patch.setattr(Decoder, "logits", lambda self, hidden: hidden @ head.T)


def head_tied_when_it_is_not(patch, twin):
    patch.setattr(Decoder, "logits", lambda self, hidden: hidden @ self.embed_tokens.weight.T)


def head_norm_left_out(patch, twin):
    original = DecoderAttention.forward

    def forward(self, *args):
        plain = torch.nn.Identity()
        kept, self.q_norm, self.k_norm = (self.q_norm, self.k_norm), plain, plain
        try:
            return original(self, *args)
        finally:
            self.q_norm, self.k_norm = kept

    patch.setattr(DecoderAttention, "forward", forward)


def exact_gelu_for_quick(patch, twin):
    _exact_gelu(patch, twin)


def exact_gelu_for_tanh(patch, twin):
    _exact_gelu(patch, twin)


def _exact_gelu(patch, twin):
    for block in twin.ours.model.tower.blocks:
        patch.setattr(block.mlp, "act", F.gelu)


def keys_of_the_wrong_head(patch, twin):
    """Query head h reads key head h mod Hkv."""
    patch.setattr(attention, "repeat_heads", lambda x, heads: x.repeat(1, heads // x.shape[1], 1, 1))


def experts_not_normalised(patch, twin):
    for layer in twin.ours.model.decoder.layers:
        patch.setattr(layer.mlp, "config", replace(layer.mlp.config, norm_topk_prob=False))
