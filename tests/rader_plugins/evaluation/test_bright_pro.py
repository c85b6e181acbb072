"""BRIGHT-Pro: its files as they lie on the hub, and its measures over weighted aspects."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ir_measures")
pytest.importorskip("datasets")

from rader_plugins.errors import InputError  # noqa: E402
from rader_plugins.evaluation import RetrievalDataset, evaluate, score_run  # noqa: E402
from rader_plugins.evaluation.datasets import open_dataset  # noqa: E402
from rader_plugins.evaluation.datasets.names import check_names, expand_names  # noqa: E402

OFFICIAL = ["weighted_alpha_nDCG@25", "weighted_StRecall@25"]
FILES: dict[str, list[dict[str, Any]]] = {
    "documents": [{"id": f"d{number}", "content": f"Document {number}."} for number in range(8)],
    "examples": [
        {"id": "q0", "query": "Why?", "gold_ids": ["d0", "d1", "d2"]},
        {"id": "q1", "query": "How?", "gold_ids": ["d2", "d3"]},
    ],
    "aspects": [
        {"id": "q0-a1", "weight": 3, "supporting_docs": ["d0", "d1"]},
        {"id": "q0-a2", "weight": 1, "supporting_docs": ["d2"]},
        {"id": "q1-a1", "weight": 2, "supporting_docs": ["d2", "d3"]},
    ],
}


@pytest.fixture(params=["json", "parquet"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the repository, as its own loader's mirror lies or as the hub has it."""
    for config, rows in FILES.items():
        (tmp_path / config).mkdir()
        if request.param == "json":
            (tmp_path / config / "biology.json").write_text(json.dumps(rows), encoding="utf-8")
        else:
            arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / config / "biology-00000-of-00001.parquet")
    return tmp_path


def test_a_split_holds_relevance_and_the_weights_of_its_aspects(copy: Path) -> None:
    dataset = open_dataset("bright-pro:biology", data_dir=copy)
    assert len(dataset.corpus) == 8
    assert dataset.qrels["q0"] == {"d0": 1, "d1": 1, "d2": 1}
    assert dataset.aspects["q0"] == {"d0": {"q0-a1": 3}, "d1": {"q0-a1": 3}, "d2": {"q0-a2": 1}}
    assert dataset.aspects["q1"] == {"d2": {"q1-a1": 2}, "d3": {"q1-a1": 2}}, "not the aspect of another query"
    assert (dataset.name, dataset.split) == ("bright-pro", "biology")


def test_the_official_measures_by_hand(copy: Path) -> None:
    dataset = RetrievalDataset.bright_pro("biology", data_dir=copy)

    def search(queries: list[str]) -> list[list[tuple[str, float]]]:
        return [[("d7", 3.0), ("d2", 2.0), ("d1", 1.0)] for _ in queries]

    scored = evaluate(search, dataset, measures=["nDCG@10", *OFFICIAL])
    discounts = [1 / math.log2(rank + 1) for rank in (1, 2, 3)]
    # Of q0: weights 3/4 and 1/4; the ideal order takes d0, d1 (its gain halved, still more than d2's), d2.
    ideal = 0.75 * discounts[0] + 0.375 * discounts[1] + 0.25 * discounts[2]
    assert scored.per_query["q0"]["weighted_alpha_nDCG@25"] == pytest.approx(
        (0.25 * discounts[1] + 0.75 * discounts[2]) / ideal
    )
    assert scored.per_query["q0"]["weighted_StRecall@25"] == pytest.approx(1)
    assert scored.per_query["q1"]["weighted_alpha_nDCG@25"] == pytest.approx(
        discounts[1] / (discounts[0] + 0.5 * discounts[1])
    )
    assert scored.per_query["q1"]["nDCG@10"] == pytest.approx(discounts[1] / (discounts[0] + discounts[1])), (
        "relevance itself is 0 or 1"
    )


@pytest.mark.parametrize("seed", range(5))
def test_with_equal_weights_they_are_those_of_ndeval(seed: int) -> None:
    rng = random.Random(seed)
    aspects = {f"q{q}": {f"d{d}": {f"{rng.randrange(3)}": 1} for d in rng.sample(range(30), 8)} for q in range(4)}
    qrels = {query: dict.fromkeys(documents, 1) for query, documents in aspects.items()}
    run = {query: {f"d{d}": rng.random() for d in rng.sample(range(30), 20)} for query in aspects}
    for cutoff in (5, 10, 20):
        pairs = {f"weighted_alpha_nDCG@{cutoff}": f"alpha_nDCG@{cutoff}"}
        pairs[f"weighted_StRecall@{cutoff}"] = f"StRecall@{cutoff}"
        scored = score_run(run, qrels, [*pairs, *pairs.values()], aspects=aspects).per_query
        for query in aspects:
            for ours, theirs in pairs.items():
                assert scored[query][ours] == pytest.approx(scored[query][theirs], abs=1e-5)


def test_names(copy: Path) -> None:
    assert len(expand_names(["bright-pro:all"])) == 7
    for wrong in ("bright-pro:pony", "bright-pro:"):
        with pytest.raises(InputError, match="sustainable_living"):
            check_names([wrong])
    with pytest.raises(InputError, match="in its name"):
        open_dataset("bright-pro:biology", split="test", data_dir=copy)


def test_measures_of_aspects_without_aspects_or_with_a_wrong_cutoff_are_errors() -> None:
    for measure, message in (("weighted_alpha_nDCG@25", "subtopic"), ("weighted_StRecall@0", "at least 1")):
        with pytest.raises(InputError, match=message):
            score_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, [measure])


def test_a_cutoff_is_added_where_there_is_none(copy: Path) -> None:
    dataset = RetrievalDataset.bright_pro("biology", data_dir=copy)
    scored = evaluate(lambda queries: [[("d0", 1.0)]] * len(queries), dataset, measures=["weighted_StRecall"])
    assert list(scored.mean) == ["weighted_StRecall@10", "weighted_StRecall@100"]
