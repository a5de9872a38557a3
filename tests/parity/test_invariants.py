"""What must not change the numbers: chunks, caches, turns, backends, how weights were stored."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from oracle import build_prompt, logits, read_media
from stages import check_logits, check_tower, check_warm, close, our_logits, our_run
from talks import TALKS


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
@pytest.mark.parametrize("talk", ["text", "image", "two_videos", "image_after_video"])
def test_prefill_in_chunks_equals_at_once(twin, talk, chunk):
    check_logits(twin, TALKS[talk], chunk)


def test_cached_equals_full_at_any_split(twin):
    prompt, vision = our_run(twin, TALKS["image"])
    full, model = our_logits(twin, prompt, vision), twin.ours.model
    with torch.no_grad():
        for split in range(1, len(prompt), 3):
            cache = model.new_cache(split)
            model(prompt, vision, cache, stop=split)
            close(f"split at {split}", model.decoder.logits(model(prompt, vision, cache)), full[split:])


def test_crop_and_go_on(twin):
    """A cache cut back inside the text goes on as if the rest had never been there."""
    prompt, vision = our_run(twin, TALKS["image"])
    full, model = our_logits(twin, prompt, vision), twin.ours.model
    with torch.no_grad():
        cache = model.new_cache()
        model(prompt, vision, cache)
        cache.crop(len(prompt) - 5)
        close("after a crop", model.decoder.logits(model(prompt, vision, cache)), full[-5:])


def test_warm_turn_equals_cold(twin):
    check_warm(twin, TALKS["second_turn"])


@pytest.mark.parametrize("talk", ["image", "two_videos"])
def test_eager_equals_reference(twin, talk, monkeypatch):
    monkeypatch.setattr(twin.ours.model, "backend", "eager")
    check_tower(twin, TALKS[talk])
    check_logits(twin, TALKS[talk])
    check_logits(twin, TALKS[talk], 7)


def test_media_encoded_alone_or_together(twin):
    """A cached picture has the features it would get beside others."""
    _, together = our_run(twin, TALKS["two_images"])
    with torch.no_grad():
        for number, medium in enumerate(_patches(twin, "two_images")):
            alone = twin.ours.model.encode([medium])[0]
            close("features", alone.features, together[number].features)


def _patches(twin, talk):
    return our_run(twin, TALKS[talk])[0].media


def test_positions_survive_bfloat16(twin):
    """Weights through bfloat16 and back: frequencies and tables must not have gone with them."""
    ours = deepcopy(twin.ours.model).bfloat16().float()
    reference = deepcopy(twin.reference)
    for parameter in reference.parameters():  # parameters only: .bfloat16() would round its frequencies
        parameter.data = parameter.data.bfloat16().float()
    rounded = replace(twin, ours=replace(twin.ours, model=ours), reference=reference)
    talk = TALKS["many_frames"]
    media = read_media(rounded, talk)
    expected = logits(rounded, build_prompt(rounded, talk, media), media)
    close("logits after bfloat16", our_logits(rounded, *our_run(rounded, talk)), expected)
