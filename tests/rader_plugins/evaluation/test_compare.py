from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from rader_plugins import Document
from rader_plugins.errors import InputError
from rader_plugins.evaluation import (
    Evaluation,
    RetrievalDataset,
    compare,
    confidence_interval,
    evaluate,
    paired_test,
)

from .conftest import make_dataset

QUERIES = 40
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def dataset_of(name: str) -> RetrievalDataset:
    """Forty questions with one relevant document each; the text of one would be markup."""
    texts = {f"q{n}": f"question {n}" for n in range(QUERIES)} | {"q0": "is <b>1 < 2</b> & 'so'?"}
    corpus = {f"d{n}": Document(f"d{n}", "text") for n in range(QUERIES)}
    return make_dataset(corpus=corpus, queries=texts, qrels={f"q{n}": {f"d{n}": 1} for n in range(QUERIES)}, name=name)


def run_of(dataset: RetrievalDataset, name: str, right: range) -> Evaluation:
    """Finds the relevant document first for the questions in ``right``, second for the others."""
    numbers = {text: int(query[1:]) for query, text in dataset.queries.items()}

    def search(queries: list[str]) -> list[list[tuple[str, float]]]:
        rankings = []
        for query in queries:
            relevant, other = f"d{numbers[query]}", f"d{(numbers[query] + 1) % QUERIES}"
            first, second = (relevant, other) if numbers[query] in right else (other, relevant)
            rankings.append([(first, 2.0), (second, 1.0)])
        return rankings

    return evaluate(search, dataset, name=name, measures=["RR", "nDCG"], k_values=[10])


@pytest.fixture(scope="module")
def runs() -> list[Evaluation]:
    first, second = dataset_of("alpha"), dataset_of("beta <i>")
    other_judgements = make_dataset(
        corpus=second.corpus, queries=second.queries, qrels={**second.qrels, "q1": {"d1": 1, "d2": 1}}, name=second.name
    )
    return [
        run_of(first, "half", range(20)),
        run_of(first, "most <script>alert(1)</script>", range(5, 40)),
        run_of(first, "half again", range(20)),
        run_of(other_judgements, "half", range(20)),
    ]


def test_means_tests_and_winners(runs: list[Evaluation]) -> None:
    comparison = compare(runs)
    assert [group.title for group in comparison.groups] == ["alpha, split test", "beta <i>, split test"]
    assert comparison.measure == "RR@10"
    first = comparison.groups[0]
    better, same, worse = first.tests
    assert (better.wins, better.ties, better.losses) == (20, 15, 5)
    assert better.difference == pytest.approx(0.5 * (20 - 5) / QUERIES)
    assert better.p_permutation < 0.01
    assert (same.difference, same.p_permutation, same.p_t) == (0.0, 1.0, None)
    assert worse.losses == 20
    low, high = first.intervals["half"]
    assert low < runs[0].mean["RR@10"] < high
    rows = {row["query"]: row for row in comparison.winners() if row["dataset"] == first.title}
    assert rows["q0"]["best"] == ["half", "half again"]
    assert rows["q30"]["best"] == [runs[1].name]
    assert rows["q10"]["best"] == ["half", runs[1].name, "half again"]


def test_the_permutation_test_agrees_with_counting_all_permutations() -> None:
    differences = np.array([0.3, -0.1, 0.2, 0.25, 0.4, -0.05, 0.15, 0.1])
    signs = np.array(list(itertools.product([1, -1], repeat=8)))
    means = signs @ differences / 8
    expected = (np.abs(means) >= abs(differences.mean()) - 1e-12).mean()
    test = paired_test(("a", "b"), np.zeros(8).tolist(), differences.tolist())
    assert test.p_permutation == pytest.approx(expected)


def test_intervals_narrow_as_queries_grow_and_repeat_with_the_seed() -> None:
    values = np.random.default_rng(1).random(400)
    few, many = confidence_interval(values[:25].tolist()), confidence_interval(values.tolist())
    assert many[1] - many[0] < few[1] - few[0]
    error = 1.96 * values.std(ddof=1) / 20
    assert many == pytest.approx((values.mean() - error, values.mean() + error), abs=0.01)
    assert confidence_interval(values.tolist(), seed=3) == confidence_interval(values.tolist(), seed=3)
    assert confidence_interval([0.4]) == (0.4, 0.4)


def test_unusable_runs(runs: list[Evaluation], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Two runs are called 'half'"):
        compare([runs[0], runs[0]])
    assert len(compare({"a": runs[0], "b": runs[0]}).groups[0].tests) == 1
    with pytest.raises(InputError, match="Not all runs have the measure 'AP'"):
        compare(runs, measure="AP")
    with pytest.raises(InputError, match="at least one"):
        compare([])
    with pytest.raises(InputError, match="takes a list"):
        compare(runs[0])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no finished evaluation"):
        compare([tmp_path])


def test_what_is_written(runs: list[Evaluation], tmp_path: Path) -> None:
    markdown, html, table = compare(runs).write(tmp_path / "report")
    text = markdown.read_text(encoding="utf-8")
    assert "| half | 75.00 (" in text
    assert "20 / 15 / 5" in text
    assert "<script>" not in text
    lines = table.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "dataset\tquery\trun\tRR@10\tbest"
    assert len(lines) == 1 + QUERIES * 4
    page = Page(html.read_text(encoding="utf-8"))
    assert page.opened == page.closed
    # Of the pairs one has no difference; every question of a data set opens.
    tests = [test for group in compare(runs).groups for test in group.tests]
    assert page.counts["svg"] == sum(test.wins + test.losses > 0 for test in tests)
    assert html.read_text(encoding="utf-8").count('<details class="query">') == 2 * QUERIES
    assert "script" not in page.counts
    assert any("is <b>1 < 2</b> & 'so'?" in text for text in page.texts)
    assert not page.loads
    assert not re.search(r"@import|url\(|https?:", html.read_text(encoding="utf-8"))


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.slow
def test_a_browser_shows_it(runs: list[Evaluation], tmp_path: Path) -> None:
    _, html, _ = compare(runs).write(tmp_path / "report")
    picture = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    # The file lies where a browser inside a container may read it; nothing else is loaded.
    done = subprocess.run(
        [str(BROWSER), *options, "--window-size=1000,1600", f"--screenshot={picture}", html.as_uri()],
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    dump = subprocess.run([str(BROWSER), *options, "--dump-dom", html.as_uri()], capture_output=True, timeout=600)
    page = dump.stdout.decode("utf-8")
    differing = sum(test.wins + test.losses for group in compare(runs).groups for test in group.tests)
    assert len(re.findall(r"<rect class=\"(?:gain|loss)\"", page)) == differing


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.slow
def test_a_narrow_window_cuts_nothing_off(runs: list[Evaluation], tmp_path: Path) -> None:
    _, html, _ = compare(runs).write(tmp_path / "report")
    probe = (
        "<script>const page = document.documentElement; document.title = "
        "`${page.scrollWidth <= page.clientWidth}`;</script></body>"
    )
    html.write_text(html.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    dump = subprocess.run(
        [str(BROWSER), *options, "--window-size=500,900", "--dump-dom", html.as_uri()],
        capture_output=True, timeout=600, check=True,
    )  # fmt: skip
    assert b"<title>true</title>" in dump.stdout


def test_every_question_shows_what_was_right_and_what_was_retrieved(toy: RetrievalDataset) -> None:
    first = evaluate(lambda queries: [[("d0", 1.0), ("d3", 0.5)] for _ in queries], toy, name="first")
    second = evaluate(lambda queries: [[("d1", 1.0)] for _ in queries], toy, name="<second>")
    html = compare([first, second]).html()
    row = html[html.index("<b>q1</b>") :]
    row = row[: row.index("</details>")]
    assert "text of document 2" in row, "right, and not found by any"
    assert "rank: first not in 2, &lt;second&gt; 1, relevance 2" in row
    assert '<li class="right"><b>d1</b> text of document 1' in row[row.index("Retrieved by &lt;second&gt;") :]
    assert "text of document 3" in row[row.index("Retrieved by first") :]


def test_dense_against_hybrid_stands_open(toy: RetrievalDataset) -> None:
    evaluation = evaluate(lambda queries: [[("d0", 1.0)] for _ in queries], toy)
    runs = {}
    for mode in ("bm25", "hybrid", "dense"):
        retriever = {**evaluation.manifest["retriever"], "mode": mode}
        runs[mode] = replace(evaluation, manifest={**evaluation.manifest, "retriever": retriever})
    html = compare(runs).html()
    assert html.count("<details open>") == 1
    assert "<details open><summary>dense against hybrid" in html


def test_a_comparison_is_a_screenful(runs: list[Evaluation]) -> None:
    many = {f"run-{n}": replace(runs[0], texts=dict.fromkeys(runs[0].texts, "long " * 500)) for n in range(8)}
    comparison = compare(many)
    for text in (str(comparison), repr(comparison)):
        assert len(text) < 4000
        assert len(text.splitlines()) < 40
        assert "... and 18 more pairs" in text


def test_p_values_are_adjusted_over_all_pairs_of_all_data_sets(runs: list[Evaluation]) -> None:
    groups = compare(runs).groups
    tests = [test for group in groups for test in group.tests]
    assert len(groups) > 1
    expected = scipy.stats.false_discovery_control([test.p_permutation for test in tests])
    assert [test.p_adjusted for test in tests] == pytest.approx(list(expected))


class Page(HTMLParser):
    """Counts elements, and what would be loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.opened = self.closed = 0
        self.texts: list[str] = []
        self.loads: list[tuple[str, Any]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.opened += tag != "meta"
        self.loads += [(name, value) for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        self.closed += 1

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
