from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from rader_plugins import query_kinds as module
from rader_plugins.errors import InputError
from rader_plugins.query_kinds import GROUP, QueryKind, query_kind, query_kinds
from rader_plugins.samples import Passage, Sample

TITLE = QueryKind("title", "the title of the document", judged=False)


class Titles:
    kind = TITLE


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Let a package with these entry points be installed."""

    def install(*entries: tuple[str, str]) -> None:
        points = [EntryPoint(name, value, GROUP) for name, value in entries]
        monkeypatch.setattr(module, "entry_points", lambda group: points if group == GROUP else [])
        module.query_kind_plugins.cache_clear()

    yield install
    module.query_kind_plugins.cache_clear()


def test_the_kinds_of_the_paper_are_there_with_their_rules():
    assert list(query_kinds())[:4] == ["question", "cot", "llm", "lexical"]
    assert [name for name, kind in module.KINDS.items() if kind.written] == ["llm", "lexical"]
    assert query_kind("cot").opens_with_question
    with pytest.raises(InputError, match="question, cot, llm, lexical"):
        query_kind("guess")


@pytest.mark.parametrize("value", [f"{__name__}:TITLE", f"{__name__}:Titles"])
def test_another_package_adds_a_kind_which_samples_read(installed, value):
    sample = Sample("q", "Guests", "title", (Passage("d", "Six guests."),))
    with pytest.raises(InputError, match="'query_kind' is one of"):
        Sample.from_row(sample.row())
    installed(("title", value))
    assert Sample.from_row(sample.row()) == sample
    assert query_kind("title") is TITLE


def test_an_entry_that_is_no_kind_is_named(installed):
    for value, fault in (
        (f"{__name__}:GROUP", "must be a QueryKind"),
        ("no.such.module:KIND", "cannot be loaded"),
        ("rader_plugins.query_kinds:_COT", "cannot be loaded"),
    ):
        installed(("title", value))
        with pytest.raises(InputError, match=fault):
            query_kinds()
    installed(("a", f"{__name__}:TITLE"), ("b", f"{__name__}:Titles"))
    with pytest.raises(InputError, match="there already"):
        query_kinds()


def test_training_refuses_a_weight_for_no_kind():
    pytest.importorskip("torch")
    from rader_training.config import RetrieverConfig

    assert RetrieverConfig(kinds={"cot": 2.0}).kinds == {"cot": 2.0}
    with pytest.raises(InputError, match="no kind of query 'cots'"):
        RetrieverConfig(kinds={"cots": 2.0})
