"""The entry points that pyproject.toml declares, whatever was installed before they were written there."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def declared(group: str) -> list[EntryPoint]:
    """Read a group of entry points (tomllib is not in Python 3.10)."""
    text = PYPROJECT.read_text(encoding="utf-8")
    table = text.partition(f'[project.entry-points."{group}"]\n')[2].partition("\n[")[0]
    return [EntryPoint(name, value, group) for name, value in re.findall(r'^(\w+) = "(.+)"$', table, re.MULTILINE)]
