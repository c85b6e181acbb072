"""How many examples Hypothesis draws: as many as a test needs, and a fifth of them in the quick loop."""

from __future__ import annotations

import os

__all__ = ["QUICK", "examples"]

QUICK = os.environ.get("HYPOTHESIS_PROFILE") == "quick"


def examples(count: int) -> int:
    """Return the number of examples of a test; in `make quick` a fifth of it."""
    return max(count // 5, 5) if QUICK else count
