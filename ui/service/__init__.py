"""The page's only door to the engine: opens models, runs turns, keeps their records for the panels.

Only ``backend`` imports torch and `vlm`; it is imported behind the page, so that the page opens first.
"""

from ui.service.records import (
    Choice,
    Cost,
    Failed,
    Finished,
    Loading,
    ModelFacts,
    Reading,
    Refused,
    Run,
    Said,
    TooMuch,
    Working,
)
from ui.service.service import Service

__all__ = [
    "Choice", "Cost", "Failed", "Finished", "Loading", "ModelFacts", "Reading", "Refused", "Run", "Said",
    "Service", "TooMuch", "Working",
]  # fmt: skip
