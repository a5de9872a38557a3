"""A minute of eight clients; `make soak` does half an hour."""

from __future__ import annotations

from dataclasses import replace

import pytest
from soak import FILLING, Point, Tally, judge, soak

MINUTE = 60.0
GOOD = [Point(second, 500, 10, 5, 20, 40, 10**6, second) for second in range(10)]
REST = Point(FILLING + 1, 510, 10, 2, 20, 40, 0, 10)


@pytest.mark.timeout(400)
def test_a_minute_of_eight_clients():
    points, tally = soak(MINUTE)
    assert not judge(points, tally)
    assert tally.done["chat"] > 10 and tally.done["second turn"] > 3  # else nothing was shown
    assert all(tally.done[deed] for deed in ("stop", "vanish", "nonsense", "garbage refused"))


def test_what_is_wrong_is_noticed():
    assert not judge([*GOOD, REST], Tally())
    leaks = {"memory": 600, "children": 3, "threads": 90, "files": 90, "disk": 2**21}
    for name, value in leaks.items():
        assert len(judge([*GOOD, replace(REST, **{name: value})], Tally())) == 1, name
    wrong = Tally()
    wrong.note("chat", "'square', not 'circle'")
    assert judge([*GOOD, REST], wrong) == ["chat: 'square', not 'circle'"]
