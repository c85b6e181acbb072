"""A process killed at any point of add, delete or optimize leaves exactly what it had reported as committed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rader_plugins import RaderIndex, RaderRetriever
from rader_plugins.index.maintenance import damaged_rows
from tests.support.encoders import HashEncoder
from tests.support.kill import kill_after, start

WORKER = """
import json, sys
import numpy as np
from rader_plugins import Document, RaderIndex
from tests.support.encoders import HashEncoder, random_text

path, seed = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(seed)
index = RaderIndex.open(path, HashEncoder())
print("ready")
while True:
    kind = rng.choice(["add", "add", "delete", "optimize"])
    names = [f"d{n}" for n in sorted(set(rng.integers(0, 200, 40).tolist()))]
    texts = {name: random_text(rng) for name in names}
    # Announced before and confirmed after: of a change that was only announced, all or nothing may be there.
    print(json.dumps(["begin", kind, texts]))
    if kind == "add":
        index.add([Document(id=name, text=text) for name, text in texts.items()])
    elif kind == "delete":
        index.delete(names)
    else:
        index.optimize()
    print(json.dumps(["done", kind, texts]))
"""


def apply(state: dict[str, str], change: list) -> dict[str, str]:
    _, kind, texts = change
    if kind == "add":
        return {**state, **texts}
    if kind == "delete":
        return {name: text for name, text in state.items() if name not in texts}
    return state


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 200))])
@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "index"
    RaderIndex.create(path, encoder=HashEncoder()).close()
    state: dict[str, str] = {}
    rng = np.random.default_rng(seed)
    for round_number in range(5):
        process = start(WORKER, str(path), str(100 * seed + round_number))
        # On a slow machine no moment may come after a commit: the last round waits for one.
        waits_for = '["done", "add"' if round_number == 4 else ""
        changes = [json.loads(line) for line in kill_after(process, float(rng.uniform(0.01, 0.6)), waits_for)[1:]]
        for change in changes:
            if change[0] == "done":
                state = apply(state, change)
        possible = [state]
        if changes and changes[-1][0] == "begin":
            possible.append(apply(state, changes[-1]))

        index = RaderIndex.open(path, HashEncoder())
        contents = {document.id: document.text for document in index.documents()}
        assert contents in possible
        state = contents
        assert damaged_rows(index._home) == []
        check_searchable(index, state)
        index.close()
    assert any(change[0] == "done" for change in changes)


def check_searchable(index: RaderIndex, state: dict[str, str]) -> None:
    fresh = RaderIndex.create(None, encoder=HashEncoder())
    from rader_plugins import Document

    fresh.add([Document(id=name, text=text) for name, text in state.items()])
    for mode in ("dense", "bm25", "hybrid"):
        hits = [
            [(hit.document.id, hit.score) for hit in RaderRetriever(searched).search("prime heat", k=300, mode=mode)]  # type: ignore[arg-type]
            for searched in (index, fresh)
        ]
        assert hits[0] == hits[1]


def test_a_half_made_index_is_no_index(tmp_path: Path) -> None:
    """Killed between making the folder and naming the database: creating again works."""
    (tmp_path / "i" / "vectors").mkdir(parents=True)
    (tmp_path / "i" / ".index.db.new").write_bytes(b"half")
    RaderIndex.create(tmp_path / "i", encoder=HashEncoder()).close()
    assert len(RaderIndex.open(tmp_path / "i", HashEncoder())) == 0
