"""Terms of many texts counted at once, against counting those of each."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins.analysis import Analyzer, TermCounts, counting
from rader_plugins.analysis import analyzer as analyzer_module

TEXTS = st.text(st.sampled_from("aAbB c'.,9_検索ไทยé\u0301\x00\n"), max_size=30) | st.sampled_from(
    ["", "the of", "getUserName foo_bar", "One one ones ONE", "x" * 300]
)


def counted(counts: TermCounts) -> list[Counter[str]]:
    counters: list[Counter[str]] = [Counter() for _ in range(counts.texts)]
    for text, term, count in zip(counts.text.tolist(), counts.term.tolist(), counts.count.tolist(), strict=True):
        assert counts.names[term] not in counters[text]
        counters[text][counts.names[term]] = count
    return counters


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=8), st.booleans(), st.sampled_from(["english", "none"]), st.integers(1, 40))
def test_counting_at_once_is_counting_alone(
    texts: list[str], identifiers: bool, language: str, characters: int
) -> None:
    analyzer = Analyzer(language, identifiers=identifiers)
    expected = [Counter(analyzer.terms(text)) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_CHARACTERS", characters)  # so that texts are split in several parts
        analyzer_module._terms_of_words.cache_clear()
        for _ in range(2):  # the second time all words were met before
            counts = analyzer.count(texts)
            assert counted(counts) == expected
            assert counts.lengths().tolist() == [count.total() for count in expected]


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=8), st.data())
def test_numbered_entries_are_sorted_and_terms_of_one_number_are_one(texts: list[str], data: st.DataObject) -> None:
    counts = Analyzer().count(texts)
    numbers = np.array([data.draw(st.sampled_from([0, 7, 2**32 - 1])) for _ in counts.names], dtype=np.uint32)
    starts, named, sizes = counts.numbered(numbers)
    number_of = dict(zip(counts.names, numbers.tolist(), strict=True))
    for place, text in enumerate(texts):
        expected: Counter[int] = Counter()
        for term in Analyzer().terms(text):
            expected[number_of[term]] += 1
        part = slice(starts[place], starts[place + 1])
        assert list(zip(named[part].tolist(), sizes[part].tolist(), strict=True)) == sorted(expected.items())
    assert starts[-1] == len(named)
