"""Answers in Chinese numerals, in two units, as an interval that nothing announces, or by a choice's number."""

from __future__ import annotations

import random

import pytest

from rader_plugins.answers import ChoiceChecker, check_answer, load_checker
from rader_plugins.answers.chinese import chinese_number

DIGITS = "零一二三四五六七八九"


def section(number: int) -> str:
    """Write a number below 10,000."""
    words, gap = "", False
    for scale, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // scale % 10
        if digit:
            words += ("零" if gap and words else "") + DIGITS[digit] + name
        gap = not digit
    return words


def written(number: int) -> str:
    if number == 0:
        return "零"
    parts = []
    for scale, name in ((10**8, "亿"), (10**4, "万"), (1, "")):
        part = number // scale % 10_000
        if part:
            parts.append(("零" if parts and part < 1000 else "") + section(part) + name)
        elif parts and number % scale:
            parts.append("零")
    return "".join(parts).replace("零零", "零")


@pytest.mark.parametrize("seed", range(3))
def test_chinese_numerals_are_the_numbers_that_they_write(seed: int) -> None:
    chance = random.Random(seed)
    numbers = [*range(120), *(chance.randrange(10 ** chance.randint(1, 12)) for _ in range(400))]
    for number in numbers:
        assert chinese_number(written(number)) == number, written(number)
        assert chinese_number(written(number + 1) + "个") == number + 1
        if 10 < number < 20:
            assert chinese_number(written(number)[1:]) == number


@pytest.mark.parametrize(
    "text",
    [
        "万一",
        "十分",
        "一千五",
        "一一",
        "百",
        "个",
        "",
        "二零",
        "三分之",
        "一定",
        "四十二米",
        "不二",
        "十十",
        "负",
        "人",
    ],
)
def test_words_of_numerals_are_no_numbers(text: str) -> None:
    assert chinese_number(text) is None


CASES = [
    ("numeric", "答案是四十二。", "42", "24"),
    ("numeric", "答案是一万二千个。", "12000", "10000"),
    ("numeric", "The answer is 3.2 kg, i.e. 3200 g.", "3200 g", "3.2 g"),
    ("numeric", "The answer is 3.2 kg, i.e. 3200 g.", "3.2", "320"),
    ("math", "答案：三分之二", "\\frac{2}{3}", "\\frac{3}{2}"),
    ("math", "The answer is 2 m, i.e. 200 cm.", "200 cm", "2 cm"),
    ("math", "所以 n = 3，因此最小值为 $\\frac{1}{2}$。", "1/2", "3"),
    ("math", "综上，面积等于 12。", "12", "21"),
    ("math", "Both ends count.\n$[1, 5]$", "[1,5]", "(1,5)"),
    ("math", "Hence the range is [1, 5).", "[1,5)", "[1,5]"),
    ("math", "so x \\in (-\\infty, 2].", "(-\\infty, 2]", "(-\\infty, 2)"),
]


@pytest.mark.parametrize(("kind", "text", "right", "wrong"), CASES)
def test_other_writings(kind: str, text: str, right: str, wrong: str) -> None:
    if kind == "math":
        pytest.importorskip("math_verify")
    checker = load_checker(kind)
    assert check_answer(checker, text, right).correct
    assert not check_answer(checker, text, wrong).correct


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("因此 n 是 3 的倍数。", "3"),
        ("因此最小值不是 3。", "3"),
        ("因此最小值为 3 吗？", "3"),
        ("It is not true that the range is [1, 5).", "[1,5)"),
        ("Is the range [1, 5)?", "[1,5)"),
        ("The answer is 7. One might say [1, 5).", "[1,5)"),
        ("答案是 7。因此最小值为 9。", "9"),
        ("the point (1, 5)", "(1,5)"),
        ("the answer is 3 m", "3000 kg"),
    ],
)
def test_what_states_no_answer_states_none(text: str, gold: str) -> None:
    pytest.importorskip("math_verify")
    assert not check_answer(load_checker("math"), text, gold).correct


def test_numbers_of_choices() -> None:
    numbered, lettered = ChoiceChecker({"1": "x", "2": "y", "3": "z"}), ChoiceChecker(["x", "y", "z"])
    for text in ("정답은 3번입니다.", "정답: ③번", "3번", "答案是 3 号"):
        assert check_answer(numbered, text, "3").correct, text
        assert not check_answer(numbered, text, "2").correct, text
        assert check_answer(ChoiceChecker(), text, "3").correct, text
        assert not check_answer(lettered, text, "C").correct, text
    assert not check_answer(numbered, "정답은 4번입니다.", "3").correct
