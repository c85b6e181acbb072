"""Prompt packs: those that come with the library, a user's own, and what is wrong with a broken one."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from rader_synthesis.packs import PACKS, load_pack, step_values
from rader_synthesis.reflection import parse_reflection

from rader_plugins.errors import InputError


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    shutil.copytree(str(files("rader_synthesis").joinpath("prompts", "math")), folder)
    return folder


def values(pack, steps=(), **more):
    return {"question": "What is 2 + 3?", "document": "Sums commute.", **step_values(steps, pack), **more}


@pytest.mark.parametrize("name", PACKS)
def test_bundled_packs_are_few_shot_and_keep_to_their_own_formats(name):
    pack = load_pack(name)
    assert len({load_pack(other).fingerprint for other in PACKS}) == len(PACKS)
    for action, prompt in pack.prompts.items():
        assert len(prompt.examples) >= 2
        assert prompt.next_example is not None
        outputs = [example.output for example in prompt.examples]
        if action in ("step", "query", "summarise"):
            assert all("\n" not in output for output in outputs)  # they stop at the end of a line
            assert prompt.stop == ("\n",)
        if action == "step":
            assert sorted(map(pack.is_final, outputs)) == [False, False, True]
        if action == "complete":
            assert all(pack.is_final(output) for output in outputs)
        if action == "reflect":
            assert [parse_reflection(output)[0] for output in outputs] == [True, False]


def test_the_example_of_a_pack_of_one_s_own():
    assert load_pack(Path(__file__).resolve().parents[2] / "examples" / "small_pack").is_final("The answer is 4.")


def test_one_prompt_as_messages_and_as_text():
    pack = load_pack("math")
    prompt = pack.prompts["step"]
    filled = values(pack, ["First.", ("document", "Sums commute.")])
    messages = prompt.messages(filled)
    assert [turn["role"] for turn in messages] == ["system"] + ["user", "assistant"] * 3 + ["user"]
    question = (
        "Problem: What is 2 + 3?\nSteps so far:\nStep 1: First.\n"
        "Step 2: A known result that may help: Sums commute.\nStep 3:"
    )
    assert messages[-1]["content"] == question
    text = prompt.text(filled)
    assert text.startswith(prompt.system + "\n\nProblem: A drawer")
    assert "\nStep 1: There are 10 pens" in text  # the example's answer goes on after its cue
    assert text.endswith("\n\n" + question)
    assert prompt.next_example == "\nProblem:"


def test_texts_with_braces_stand_as_they_are():
    pack = load_pack("math")
    prompt = pack.prompts["step"].messages(values(pack, ["{question}"], question=r"\frac{1}{2} {steps}"))[-1]["content"]
    assert prompt.startswith("Problem: \\frac{1}{2} {steps}\nSteps so far:\nStep 1: {question}\n")


def test_answers_lose_the_cue_that_a_model_repeats():
    pack = load_pack("math")
    prompt = pack.prompts["step"]
    assert prompt.clean("  step 1: It is 5. ", values(pack)) == "It is 5."
    assert prompt.clean("Step 1 is easy.", values(pack)) == "Step 1 is easy."


def test_documents_are_shown_without_proofs_and_line_breaks():
    assert load_pack("math").shown("Theorem.\n It  holds.\n\\begin{proof} long \\end{proof}") == "Theorem. It holds."
    assert load_pack("science").shown("Fact.\\begin{proof}") == "Fact.\\begin{proof}"


def test_a_folder_of_one_s_own(own: Path):
    (own / "pack.toml").write_text(
        'final_answer = ["ANSWER:"]\nstep = "{text}"\ndocument = "[{text}]"\nno_steps = "-"\n', encoding="utf-8"
    )
    pack = load_pack(own)
    assert pack.name == "own"
    assert pack.is_final("the answer: 5")
    assert not pack.is_final(r"\boxed{5}")
    assert pack.steps([("thought", "a"), ("document", "b")]) == "a\n[b]"
    assert step_values([], pack) == {"steps": "-", "number": "1"}
    assert pack.fingerprint != load_pack("math").fingerprint


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("pack.toml", "final_answer = ['\\boxed', 'answer is']", "final_answer = []", "'final_answer' must hold"),
        ("pack.toml", 'step = "Step {number}: {text}"', 'step = "Step"', "'step'.*lacks {text}"),
        ("pack.toml", "no_steps", "nosteps", "unknown 'nosteps'"),
        ("step.toml", "{question}", "{query}", "step.toml, 'user': .*lacks {question}"),
        ("step.toml", "max_tokens = 256", "", "'max_tokens' must be a whole number"),
        ("step.toml", "max_tokens = 256", "max_tokens = 256\ntemperature = 'hot'", "'temperature'"),
        ("step.toml", 'stop = ["\\n"]', 'stop = "x"', "'stop' must be a list"),
        ("step.toml", "output = ", "answer = ", "example 1 has the unknown 'answer'"),
        ("query.toml", "[[examples]]", "[[example]]", "unknown 'example'"),
        ("summarise.toml", "[[examples]]", "[examples", "summarise.toml is not TOML"),
        ("reflect.toml", "document = ", "# ", "example 1: 'document' must be a text"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(own: Path, file: str, old: str, new: str, message: str):
    text = (own / file).read_text(encoding="utf-8")
    assert old in text
    (own / file).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_pack(own)


def test_missing_files_unknown_names_and_bad_encoding(own: Path):
    with pytest.raises(InputError, match="no prompt pack 'maths': name math, science, generic or a folder"):
        load_pack("maths")
    (own / "query.toml").write_bytes(b"system = '\xff'")
    with pytest.raises(InputError, match="query.toml, line 1 is not UTF-8"):
        load_pack(own)
    (own / "query.toml").unlink()
    (own / "pack.toml").unlink()
    with pytest.raises(InputError, match=r"lacks pack\.toml, query\.toml"):
        load_pack(own)


@pytest.mark.parametrize(
    ("answer", "label", "reason"),
    [
        ("It states the bound.\nRelevant: True", True, "It states the bound."),
        ("Relevant: False\nReason: it is about graphs.", False, "it is about graphs"),
        ("Reason: fits.\nRelevant: **True**", True, "fits."),
        ("relevant - yes", True, ""),
        ("False. It is off topic", False, "It is off topic"),
        ("Relevant: True\nReason: it fits\nRelevant: True", True, "it fits"),
        ("Relevant: True\nRelevant: False", None, None),
        ("Perhaps.", None, None),
        ("It is irrelevant: true enough", None, None),
        ("The statement is true.", None, None),
        ("", None, None),
    ],
)
def test_reflections(answer, label, reason):
    reflection = parse_reflection(answer)
    assert reflection[0] is label
    if label is None:
        assert reflection[1].startswith("Unreadable reflection: ")
    else:
        assert reflection[1] == reason
