"""``python -m vlm evaluate`` writes the card that the page and the tests read."""

from __future__ import annotations

import json
import shutil

from typer.testing import CliRunner

from vlm.__main__ import app
from vlm.train.card import END, SEEN, START


def test_the_verb_writes_the_card_and_the_scores(tiny, tmp_path):
    card = tmp_path / "README.md"
    shutil.copy(tiny.folder / "README.md", card)
    ran = CliRunner().invoke(
        app, ["evaluate", "--model", "tiny", "--questions", "128", "--card", str(card), "--json"]
    )
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout.splitlines()[-1])
    kept = json.loads((tmp_path / "scores.json").read_text())
    assert kept["scores"] == told["scores"] and kept["promises"] == told["promises"]
    assert set(kept["speed"]) == {"load_s", "first_token_ms", "tokens_per_s"}
    assert kept["speed"]["tokens_per_s"] > 0 < kept["speed"]["load_s"]
    assert {
        f"Pictures, {SEEN}",
        f"Clips, {SEEN}",
        f"Two pictures, {SEEN}",
        f"Written answers, {SEEN}",
    } <= set(kept["scores"])
    text = card.read_text()
    figures = text[text.index(START) : text.index(END)]
    assert "On one core: loads in" in figures and "**Clips, wordings never trained on**" in figures
