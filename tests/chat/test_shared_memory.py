"""What is kept between turns is asked and changed by many threads at once."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vlm.chat.memory import CachePool, Slot, VisionMemo
from vlm.models.cache import KVCache
from vlm.records import VisionOut

ROUNDS = 3_000


@pytest.fixture
def impatient():
    """Threads that take turns within any few lines."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def _together(*deeds):
    with ThreadPoolExecutor(len(deeds)) as threads:
        for done in [threads.submit(deed) for deed in deeds]:
            done.result()


def test_a_plan_asks_for_the_memos_size_while_another_turn_encodes(impatient):
    out = VisionOut(torch.zeros(4, 8), (), (1, 4, 4), "")
    memo = VisionMemo(50 * out.nbytes)

    def encode():
        for number in range(ROUNDS):
            memo.put([VisionOut(out.features, (), out.grid_thw, str(number))])

    def plan():
        for number in range(ROUNDS):
            assert memo.nbytes <= 51 * out.nbytes
            memo.get(str(number))

    _together(encode, plan, plan)
    assert len(memo) == 50


def test_a_plan_asks_for_the_caches_size_while_chats_come_and_go(impatient, engine):
    caches, cache = CachePool(10**9), KVCache(engine.config.decoder, 1)

    def talk():
        for chat in range(ROUNDS):
            caches.put(chat % 60, Slot(cache))
            caches.drop_oldest(but=chat % 60)
            caches.drop(chat % 7)

    def plan():
        for _ in range(ROUNDS):
            assert caches.nbytes <= 60 * cache.nbytes

    _together(talk, talk, plan, plan)
