from __future__ import annotations

import pytest

from rader_plugins.errors import InputError
from rader_plugins.llm.base import without_thoughts
from rader_plugins.llm.templates import check_template, fill_template


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        ("plain", "plain"),
        ("<think>a\nb</think>\nc", "\nc"),
        ("a</think>c", "c"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<thinking>a</thinking>b", "b"),
        ("<think>never ends", None),
        ("<think>a</think><think>b", None),
        ("", ""),
    ],
)
def test_thoughts(answer, rest):
    assert without_thoughts(answer) == rest


def test_templates_are_filled_at_once():
    values = {"query": "{document} {0} \\1", "document": "{query}"}
    assert fill_template("{query}|{document}|{x}|{}", values) == "{document} {0} \\1|{query}|{x}|{}"
    with pytest.raises(InputError, match="{query}"):
        check_template("no place", ("query",))
    with pytest.raises(InputError, match="string"):
        check_template(3, ("query",))
