from __future__ import annotations

import pytest
from rader_synthesis.outcome import remarks, shortfall

GOOD = {
    "solved": 3, "unsolved": 1, "rollouts": 64, "right_rollouts": 20, "training": 9, "answers": 200,
    "documents_kept": 20, "documents_rejected": 60,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"solved": 0, "unsolved": 0}, "No problem was searched to its end"),
        ({"solved": 0, "right_rollouts": 0}, "none of 64 rollouts came to the right answer"),
        ({"empty_answers": 150}, "150 of 200 answers of the model are empty"),
        ({"cut_answers": 150}, "150 of 200 answers of the model were cut"),
        ({"documents_kept": 0, "unreadable_reflections": 80}, "judgements of documents cannot be read"),
        ({"documents_kept": 0}, "kept none of the documents that it found (60 rejected)"),
        ({"documents_kept": 0, "documents_rejected": 0}, "nothing was retrieved"),
        ({}, "right answers came without a document that was kept"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_without_use_names_its_cause(change: dict[str, int], cause: str) -> None:
    message = shortfall({**GOOD, "training": 0, **change})
    assert message is not None
    assert cause in message


def test_a_run_of_use_has_no_shortfall_and_says_what_looks_wrong() -> None:
    assert shortfall(GOOD) is None
    assert remarks(GOOD) == []
    (silent,) = remarks({**GOOD, "empty_answers": 60})
    assert silent.startswith("60 of 200 answers of the model are empty")
    (filtered,) = remarks({**GOOD, "filtered_reflections": 1})
    assert "content filter" in filtered


def test_runs_of_the_version_before_which_did_not_count_answers_have_no_remark() -> None:
    before = {name: number for name, number in GOOD.items() if name != "answers"}
    assert remarks({**before, "empty_answers": 3}) == []
