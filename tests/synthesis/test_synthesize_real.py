"""A run with a real, very small language model: the machinery, not the model's wisdom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rader_synthesis.config import SearchConfig
from rader_synthesis.packs import load_pack
from rader_synthesis.run import synthesize
from rader_synthesis.tree import Tree

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.answers import load_checker
from rader_plugins.llm import OpenAIChat
from rader_plugins.problems import Problem
from rader_plugins.trajectories import read_trajectories
from tests.support.encoders import HashEncoder
from tests.support.small_llm import small_llm

PROBLEMS = [
    Problem("apples", "Tom has 3 apples and buys 4 more. How many apples does he have now?", "7"),
    Problem("legs", "A table has 4 legs. How many legs do 3 tables have?", "12"),
]
FACTS = ["To find how many there are in all, add the numbers.", "Equal groups are multiplied.", "Cats sleep a lot."]


# A pack of one's own, as short as can be, so that the test takes seconds on two cores.
PACK = {
    "pack": 'final_answer = ["answer is"]\nstep = "{text}"\ndocument = "Known: {text}"\nno_steps = "-"',
    "step": ("Think.", "Q: {question}\n{steps}\nThought:", 'question = "2 + 2?"\nsteps = []', "Add 2 and 2."),
    "complete": (
        "Solve.", "Q: {question}\n{steps}\nSolution:", 'question = "2 + 2?"\nsteps = ["Add."]', "The answer is 4."
    ),
    "query": ("Look up.", "Q: {question}\n{steps}\nSearch for:", 'question = "2 + 2?"\nsteps = []', "rule of sums"),
    "reflect": (
        "Does the text help?",
        "Q: {question}\n{steps}\nText: {document}\nRelevant:",
        'question = "2 + 2?"\nsteps = []\ndocument = "Sums are found by adding."',
        "True, it says how.",
    ),
    "summarise": ("Say it in short.", "Text: {document}\nShort:", 'document = "A sum is found by adding."', "Add."),
}  # fmt: skip


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "short"
    folder.mkdir()
    for name, content in PACK.items():
        if not isinstance(content, str):
            system, user, example, output = content
            content = (
                f'system = \'{system}\'\nuser = """{user}"""\nmax_tokens = 12\nstop = [\'\\n\']\n'
                f"[[examples]]\n{example}\noutput = '{output}'"
            ).replace("'\\n'", '"\\n"')
        (folder / f"{name}.toml").write_text(content, encoding="utf-8")
    return folder


def test_two_problems(tmp_path, pack):
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add([Document(f"fact-{number}", text) for number, text in enumerate(FACTS)])
    config = SearchConfig(rollouts=2, depth=3, steps=1, documents=1, completions=1, style="completion", seed=2)
    out = tmp_path / "run"
    with small_llm(slots=2) as url, OpenAIChat(url, "smol", concurrency=2, timeout=240.0) as llm:

        def run():
            return synthesize(
                PROBLEMS, RaderRetriever(index), llm, load_checker("numeric"), out, config=config, pack=load_pack(pack)
            )

        report = run()
        content = (out / "trajectories.jsonl").read_bytes()
        usage = llm.usage
        (out / "finished.jsonl").unlink()  # as if both problems had been in flight at a kill
        second_run = run()
        assert llm.usage == usage or second_run.asked < 3  # empty answers are not kept, and asked for again
    assert report.totals["failed"] == 0
    assert report.totals["rollouts"] == 4
    assert usage.completion_tokens > 0
    assert (out / "trajectories.jsonl").read_bytes() == content
    trees = [Tree.from_row(json.loads(line)) for line in (out / "trees.jsonl").read_text().splitlines()]
    assert [tree.problem_id for tree in trees] == ["apples", "legs"]
    for tree in trees:
        assert "crs" in [node.kind for node in tree.children(tree.root)]
        assert all(node.text for node in tree.nodes if node.kind in ("ost", "qg", "rt"))
    paths = list(read_trajectories(out / "trajectories.jsonl"))
    assert sum(path.metadata["visits"] for path in paths) == 4
