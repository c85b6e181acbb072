from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins.errors import InputError
from rader_plugins.evaluation import interpolate, read_excluded, read_qrels, read_run, score_run, write_run
from rader_plugins.evaluation.rankings import ranking, separated
from rader_plugins.retrieval import fuse, z_scores

IDS = st.text("abcdefgh/._-é", min_size=1, max_size=4)
# Few different values, so that ties are common, and some that only double precision tells apart.
SCORES = st.one_of(
    st.sampled_from([0.0, -0.0, 0.2, 0.4, 0.4 + 1e-12, 1e-45, -3.5, 1e30, 3e38]),
    st.floats(-1e30, 1e30, allow_nan=False),
)
RUNS = st.dictionaries(IDS, st.dictionaries(IDS, SCORES, min_size=1, max_size=12), min_size=1, max_size=4)


@settings(deadline=None)
@given(scores=st.dictionaries(IDS, SCORES, max_size=30))
def test_separated_scores_fall_strictly_in_single_precision_and_keep_the_order(scores: dict[str, float]) -> None:
    apart = separated(scores)
    assert list(apart) == ranking(scores)
    single = np.array(list(apart.values()), dtype=np.float32)
    assert (np.diff(single.astype(np.float64)) < 0).all()
    assert np.isfinite(single).all()


@settings(deadline=None)
@given(run=RUNS)
def test_a_run_file_gives_every_scorer_the_same_order(
    run: dict[str, dict[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    write_run(run, path)
    back = read_run(path)
    assert {query: list(scores) for query, scores in back.items()} == {query: ranking(run[query]) for query in run}
    qrels = {query: {sorted(scores)[0]: 1} for query, scores in run.items()}
    ours = score_run(run, qrels, ["RR", "nDCG@3"])
    for ties in ("file", "trec_eval"):
        assert score_run(back, qrels, ["RR", "nDCG@3"], ties=ties).per_query == ours.per_query


def test_equal_scores_keep_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text('{"q": {"b": 0.2, "z": 0.4, "a": 0.4}}', encoding="utf-8")
    assert ranking(read_run(path)["q"]) == ["z", "a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 d 1 0.5\n", "line 1 has 5 columns"),
        ("q Q0 d 1 0.5 x\nq Q0 d 2 0.4 x\n", "line 2: document 'd' stands twice"),
        ("q Q0 d 1 high x\n", "'high' is not a number"),
        ("q Q0 d 1 nan x\n", "document 'd' for query 'q' is NaN"),
        ('{"q": {"d": NaN}}', "document 'd' for query 'q' is NaN"),
        ('{"q": {"d": "0.5"}}', "not a number"),
        ('{"q": {"d": 0.5, "d": 0.4}}', "'d' stands twice"),
        ('{"q": [0.5]}', "a JSON run is"),
        ('{"q": ', "not JSON"),
        ("\n", "holds no results"),
    ],
)
def test_unusable_runs_say_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_run(path)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("separator", [" ", "\t", "   "])
def test_runs_and_judgements_as_other_tools_write_them(
    tmp_path: Path, ending: str, mark: bytes, packed: bool, separator: str
) -> None:
    """Packed or not, any line ending, a byte order mark, unsorted, ranks that say something else."""
    run = ["q2 Q0 d1 1 -1.5 x", "q1 Q0 d2 7 0.25 x", "", "q1 Q0 d1 9 3e-1 x", "q2 Q0 d9 2 -0.5 x"]
    qrels = ["q1 0 d1 2", "q2 0 d9 -1", "q2 0 d1 1"]
    for name, lines in (("run", run), ("qrels", qrels)):
        content = mark + ending.join(lines).replace(" ", separator).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    assert read_run(tmp_path / "run") == {"q2": {"d1": -1.5, "d9": -0.5}, "q1": {"d2": 0.25, "d1": 0.3}}
    assert read_qrels(tmp_path / "qrels") == {"q1": {"d1": 2}, "q2": {"d9": -1, "d1": 1}}
    scores = score_run(read_run(tmp_path / "run"), read_qrels(tmp_path / "qrels"), ["RR"])
    assert scores.per_query == {"q1": {"RR": 1.0}, "q2": {"RR": 0.5}}


def test_tabs_keep_blanks_in_ids_and_a_broken_package_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("q 1\tQ0\tmy paper\t1\t0.5\tx\n", encoding="utf-8")
    assert read_run(tmp_path / "run") == {"q 1": {"my paper": 0.5}}
    for cut in (3, 15):
        (tmp_path / "run.gz").write_bytes(gzip.compress(b"q Q0 d 1 1 x\n" * 50)[:cut])
        with pytest.raises(InputError, match="unpacked"):
            read_run(tmp_path / "run.gz")


def test_ids_with_white_space_do_not_fit_a_run_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'a b'"):
        write_run({"q": {"a b": 1.0}}, tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    ["query-id\tcorpus-id\tscore\nq\td one\t2\n", "q\td one\t2.0\n", "q\t0\td one\t2\r\n"],
    ids=["header", "no header", "trec"],
)
def test_judgements_of_either_format(tmp_path: Path, text: str) -> None:
    path = tmp_path / "qrels"
    path.write_bytes(text.encode())
    assert read_qrels(path) == {"q": {"d one": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q 0 d 1\nq 0 d 0\n", "line 2: document 'd' was given another relevance"),
        ("q\td\t0.5\n", "'0.5' is not a whole number"),
        ("q 0 d 1\nq 0 e yes\n", "line 2: the relevance 'yes'"),
        ("q d\n", "line 1: expected"),
        ("query-id\tcorpus-id\tscore\n", "holds no judgements"),
    ],
)
def test_unusable_judgements_say_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "qrels"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_qrels(path)


def test_excluded_documents(tmp_path: Path) -> None:
    path = tmp_path / "excluded.jsonl"
    path.write_text('{"_id": "q", "excluded_ids": ["a", "b"]}\n{"id": "r", "excluded_ids": []}\n', encoding="utf-8")
    assert read_excluded(path) == {"q": {"a", "b"}, "r": set()}
    path.write_text(json.dumps({"_id": "q", "excluded": ["a"]}), encoding="utf-8")
    with pytest.raises(InputError, match="excluded_ids"):
        read_excluded(path)


@settings(deadline=None)
@given(first=RUNS, second=RUNS, weight=st.floats(0, 1))
def test_interpolation_agrees_with_numpy(
    first: dict[str, dict[str, float]], second: dict[str, dict[str, float]], weight: float
) -> None:
    both = interpolate([first, second], [weight, 1 - weight])
    assert {query: list(scores) for query, scores in both.items()} == {query: list(first[query]) for query in first}
    union = interpolate([first, second], [weight, 1 - weight], documents="union")
    for query, scores in union.items():
        a, b = first.get(query, {}), second.get(query, {})
        names = list(scores)
        assert set(names) == set(a) | set(b)
        expected = np.array([weight, 1 - weight]) @ [
            [a.get(name, 0.0) for name in names],
            [b.get(name, 0.0) for name in names],
        ]
        assert list(scores.values()) == pytest.approx(expected.tolist(), rel=1e-12, abs=1e-12)
        assert all(scores[name] == value for name, value in both.get(query, {}).items())


def test_interpolation_refuses_what_cannot_be_weighed() -> None:
    with pytest.raises(InputError, match="one weight per run"):
        interpolate([{"q": {"a": 1.0}}], [0.5, 0.5])
    with pytest.raises(InputError, match="infinite"):
        interpolate([{"q": {"a": math.inf}}], [1.0])
    with pytest.raises(InputError, match="Run 2: .*NaN"):
        interpolate([{"q": {"a": 1.0}}, {"q": {"a": math.nan}}], [1.0, 1.0])
    with pytest.raises(InputError, match="finite"):
        interpolate([{"q": {"a": 1.0}}], [math.nan])


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=30),
    alpha=st.floats(0, 1),
)
def test_fusion_agrees_with_scipy(pairs: list[tuple[float, float]], alpha: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    dense, bm25 = np.array(pairs).T
    expected = 0
    for scores, weight in ((dense, alpha), (bm25, 1 - alpha)):
        # Where scores differ by rounding alone, the quotient is noise in either computation.
        if scores.max() - scores.min() < 1e-6 and scores.max() != scores.min():
            return
        constant = scores.max() == scores.min()
        z = np.zeros_like(scores) if constant else stats.zscore(scores)
        assert z_scores(scores) == pytest.approx(z, abs=1e-6)
        expected = expected + weight * z
    assert fuse(dense, bm25, alpha) == pytest.approx(expected, abs=1e-6)
