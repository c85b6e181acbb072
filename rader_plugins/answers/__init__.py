"""Checkers of final answers: does what a model wrote come to the right answer? For evaluation and for synthesis."""

from rader_plugins.answers.base import AnswerChecker, Verdict, check_answer
from rader_plugins.answers.judge import JudgeChecker
from rader_plugins.answers.load import CHECKERS, load_checker
from rader_plugins.answers.mathematics import MathChecker
from rader_plugins.answers.text import CallableChecker, ChoiceChecker, ExactChecker, NumericChecker, RegexChecker

__all__ = [
    "CHECKERS",
    "AnswerChecker",
    "CallableChecker",
    "ChoiceChecker",
    "ExactChecker",
    "JudgeChecker",
    "MathChecker",
    "NumericChecker",
    "RegexChecker",
    "Verdict",
    "check_answer",
    "load_checker",
]
