"""The many ways in which models and people write one answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rader_plugins.answers import ChoiceChecker, MathChecker, NumericChecker, check_answer, load_checker
from rader_plugins.answers.extraction import after_thoughts, boxed, stated


@pytest.fixture(scope="module")
def math() -> MathChecker:
    pytest.importorskip("math_verify")
    return MathChecker(timeout=60)


SAME = [
    ("8", "8.0"),
    ("1/2", "0.5"),
    ("3,600", "3600"),
    (r"1{,}000", "1000"),
    ("$5", r"\$5"),
    ("5 dollars", "5"),
    ("50%", r"50\%"),
    ("50", "50%"),
    ("0.5", "50%"),
    ("x=3", "3"),
    ("-5", "−5"),
    ("3 1/2", "3.5"),
    ("0.3333", "1/3"),
    (r"\frac12", r"\dfrac{1}{2}"),
    (r"\frac{1}{2}", "1/2"),
    (r"90^\circ", "90 degrees"),
    ("7 eggs", "7"),
    ("2^10", "1024"),
    (r"6\text{ cm}^2", "6"),
    ("1.5 million", "1500000"),
    (r"1.5 \times 10^{3}", "1500"),
    ("(1,2]", r"\left(1,\, 2\right]"),
    ("{1,2}", r"\{2,1\}"),
    ("x=1, x=2", "1 and 2"),
    ("(-\\infty,3)", "x<3"),
    ("1<x<2", "(1,2)"),
    ("π/2", r"\frac{\pi}{2}"),
    ("pi/2", r"\pi / 2"),
    ("2 sqrt(3)", r"\sqrt{12}"),
    ("√2", r"\sqrt{2}"),
    ("(x+1)^2", "x^2+2x+1"),
    ("y=2x+1", "y = 1+2x"),
    (r"\pm 3", "3,-3"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ("2+3i", "3i+2"),
    (r"\text{east}", "East"),
    (r"\text{(B)}", "B"),
    (r"\textbf{(B)}", "(B)"),
    (r"\text{Evelyn}", "evelyn."),
]
OTHER = [
    ("8", "-8"),
    ("8", "80"),
    ("0.33", "1/3"),
    ("0.3334", "1/3"),
    ("12,34", "1234"),
    ("0.0000001", "0.0000002"),
    ("11111111111111111111", "11111111111111111112"),
    ("10000000.5", "10000000"),
    ("50%", "5"),
    ("(1,2]", "[1,2]"),
    ("(1,2)", "(2,1)"),
    ("{1,2}", "{1,3}"),
    ("x=3", "y=3"),
    ("x<3", "x>3"),
    ("3", "3,4"),
    ("2x", "x^2"),
    ("a", "b"),
    ("A", "B"),
    ("east", "west"),
    ("no", "on"),
    (r"\text{even}", r"\text{odd}"),
    (r"\sqrt{2}", "1.41"),
    ("", "3"),
    (r"\frac{", "1"),
    (r"\frac{1}{0}", "1"),
    ("x" * 3000, "x"),
]


@pytest.mark.parametrize(("pairs", "same"), [(SAME, True), (OTHER, False)], ids=["same", "other"])
def test_mathematics_in_both_directions(math: MathChecker, pairs: list[tuple[str, str]], same: bool) -> None:
    wrong = [(a, b) for a, b in pairs if math.equal(a, b) is not same or math.equal(b, a) is not same]
    assert not wrong


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{1}, no: \boxed{\{2, 3\}}", r"\{2, 3\}"),
        (r"the answer is 4, that is \boxed{2^2}", "2^2"),
        (r"\boxed{1} and then \boxed{2", "1"),  # cut off
        (r"\boxed{} The answer is 3.", "3"),
        (r"thus \boxed 7.", "7"),
        (r"The answer is $\frac{3}{4}$. Done.", r"\frac{3}{4}"),
        ("The answer is 5 apples. I hope it is correct.", "5 apples"),
        ("The answer is $18.", "$18"),
        ("The answer is $5 per day.", "$5 per day"),
        ("The answer is 1,234.50.", "1,234.50"),
        ("the answer to the question is: 12", "12"),
        ("the answer would be therefore 5", "5"),
        ("**Answer:** 5", "5"),
        ("Answer: **5**", "5"),
        ("Answer: Dr. Who", "Dr. Who"),
        ("**Final Answer:**\n\n$x = 5$", "x = 5"),
        ("Final Answer: The final answer is $5$. I hope it is correct.", "5"),
        ("The answer is 3. Wait. The answer is 4.", "4"),
        ("The answer is\n\\[ x = 3 \\]", "x = 3"),
        (r"The answer is that the area equals $3\pi$. Good.", r"3\pi"),
        ("The answer is Yes. Because it is.", "Yes"),
        ("Therefore, the answer is **(C)**.", "(C)"),
        ("48 / 2 = 24\n#### 72", "72"),
        ("She sells 9 eggs.\nA: 18", "18"),
        ("#### Step 1: take 5\nthen 6", None),  # a heading
        ("A: 3\nB: 4", None),  # choices
        ("To answer this, what is 5?", None),
        ("The answer depends on what is asked.", None),
        ("The answer is", None),
        ("So there are 7.", None),
        ("", None),
        ("<think>The answer is 4.</think>The answer is 5.", "5"),
        ("<think>The answer is 4.", None),
    ],
)
def test_marked_answers(text: str, answer: str | None) -> None:
    text = after_thoughts(text)
    assert (boxed(text) or stated(text)) == answer


def test_braces_without_end_take_no_time() -> None:
    assert boxed("\\boxed{" * 5000) is None


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [
        ("3.0", "3", True),
        ("$1,200", "1200", True),
        ("12%", "12", True),
        ("12%", "0.12", True),
        ("about 5 km", "5", True),
        ("3 x 4 = 12", "12", True),
        ("0.3333", "1/3", True),
        ("1e3", "1000", True),
        ("5 m", "5", True),
        ("7 eggs", "7", True),
        (r"\frac{3}{4}", ".75", True),
        ("-3", "3", False),
        ("1.01", "1", False),
        ("seven", "7", False),
        ("13%", "0.12", False),
        ("9e999999999", "9", False),
        ("1/0", "1", False),
    ],
)
def test_numbers(answer: str, gold: str, same: bool) -> None:
    assert NumericChecker().equal(answer, gold) is same


@pytest.mark.parametrize(
    ("text", "gold", "correct"),
    [
        ("B", "B", True),
        ("(b)", "B", True),
        ("B. gold", "B", True),
        ("gold", "B", True),
        ("(B) gold", "gold", True),
        ("Gold is noble. The answer is (B).", "B", True),
        (r"\boxed{\text{(B)}}", "B", True),
        ("**B**", "(B)", True),
        ("Option B is best, since A rusts.", "B", True),
        ("Since (A) rusts, I take (B).", "B", True),
        ("Rust: A.\nB", "B", True),
        ("B, because it is noble", "B", True),
        ("C", "B", False),
        ("iron", "gold", False),
        ("A noble one", "A", False),
        ("", "A", False),
    ],
)
def test_choices(text: str, gold: str, correct: bool) -> None:
    assert check_answer(ChoiceChecker(["iron", "gold", "steel"]), text, gold).correct is correct


@pytest.mark.parametrize(("file", "name"), [("math_train_1000", "math"), ("gsm8k_train_1000", "numeric")])
def test_reference_solutions_are_found_correct(shared_data: Path, file: str, name: str) -> None:
    if name == "math":
        pytest.importorskip("math_verify")
    checker = load_checker(name)
    lines = (shared_data / "problems" / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
    wrong = [
        row["id"] for row in map(json.loads, lines) if not check_answer(checker, row["solution"], row["answer"]).correct
    ]
    assert not wrong
