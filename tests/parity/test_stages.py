"""Every stage of every family against transformers, on every talk."""

from __future__ import annotations

import pytest
from stages import STAGES, our_answer, our_run
from talks import TALKS


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("stage", STAGES)
def test_stage_equals_reference(twin, talk, stage):
    STAGES[stage](twin, TALKS[talk])


def test_answers_are_not_trivial(twin):
    """Else 32 equal tokens would prove little."""
    assert len(set(our_answer(twin, *our_run(twin, TALKS["image"])))) > 4
