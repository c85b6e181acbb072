from __future__ import annotations

import pytest

from rader_plugins.evaluation.tables import text_table

HEADER = ["run", "setting", "nDCG@10 (95%)", "R@100", "median ms"]
ROWS = [["before", "dense, mini", "34.55 (26.6 to 43.5)", "93.33", "58.5"], ["after", "hybrid", "40.25", "96.00", "71"]]


@pytest.mark.parametrize("room", [40, 50, 80, 0])
def test_columns_without_room_stand_below(room: int) -> None:
    lines = text_table(HEADER, ROWS, room=room)
    assert not room or all(len(line) <= room for line in lines)
    text = "\n".join(lines)
    assert all(cell in text for row in (HEADER, *ROWS) for cell in row)
    parts = text.split("\n\n")
    assert [part.splitlines()[1].split()[0] for part in parts] == ["before"] * len(parts)
    assert (len(parts) == 1) == (room in (80, 0))


def test_a_column_that_is_wider_than_the_room_is_shown_whole() -> None:
    assert text_table(["run", "setting"], [["a", "b" * 50]], room=20) == [
        "run  " + "setting".rjust(50),
        "a    " + "b" * 50,
    ]
