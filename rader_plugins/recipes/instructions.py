"""The query instructions that RaDeR was evaluated with on BRIGHT, one per split.

Source: RaDeR's evaluation configuration, which follows the BRIGHT benchmark (Su et al., 2024). Split names
stand in the sentence as they are, underscores included.
"""

from __future__ import annotations

from rader_plugins.errors import InputError

__all__ = ["BRIGHT_INSTRUCTIONS", "BRIGHT_POSTS", "bright_instruction"]


def _frame(task: str, wanted: str, aim: str) -> str:
    return f"Instruct: Given a {task}, retrieve relevant {wanted} that help answer the {aim}\nQuery: "


BRIGHT_POSTS = (
    "biology",
    "earth_science",
    "economics",
    "psychology",
    "robotics",
    "stackoverflow",
    "sustainable_living",
)
"""Splits of BRIGHT whose questions are posts of a forum."""

BRIGHT_INSTRUCTIONS: dict[str, str] = {
    **{task: _frame(f"{task} post", "passages", "post") for task in BRIGHT_POSTS},
    "pony": _frame("pony question", "passages", "question"),
    "leetcode": _frame("coding problem", "examples", "problem"),
    "aops": _frame("Math problem", "examples", "problem"),
    "theoremqa_questions": _frame("Math problem", "examples", "problem"),
    "theoremqa_theorems": _frame("Math problem", "theorems", "problem"),
}
"""Split of BRIGHT -> literal instruction, to be passed as ``instruction=``."""


def bright_instruction(split: str) -> str:
    """Return the instruction for one split of BRIGHT.

    Raises:
        InputError: No such split; the message lists them.
    """
    if split not in BRIGHT_INSTRUCTIONS:
        raise InputError(f"BRIGHT has no split {split!r}. It has: {', '.join(BRIGHT_INSTRUCTIONS)}.")
    return BRIGHT_INSTRUCTIONS[split]
