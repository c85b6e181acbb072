"""Taking personal data out of texts before anything is written: a user's function, or Presidio's patterns."""

from __future__ import annotations

import importlib
import threading
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.recording import Redact
from rader_synthesis.importing.function import load_function

__all__ = ["PRESIDIO", "load_redaction"]

PRESIDIO = "presidio"
_RECOGNIZERS = (
    "CreditCardRecognizer",
    "IbanRecognizer",
    "IpRecognizer",
    "PhoneRecognizer",
    "UsSsnRecognizer",
)
_LEAST_SCORE = 0.4


def load_redaction(name: str) -> Redact:
    """Return a function from text to text.

    Args:
        name: ``module:function``; or ``presidio`` for the patterns of presidio-analyzer (addresses of mail and
            networks, telephone and card numbers, bank accounts), each of which becomes its name: ``[EMAIL_ADDRESS]``.

    Raises:
        InputError: There is no such function, or presidio-analyzer is not installed.
    """
    return _presidio() if name == PRESIDIO else load_function(name)


def _presidio() -> Redact:
    try:
        analyzer: Any = importlib.import_module("presidio_analyzer")
        predefined: Any = importlib.import_module("presidio_analyzer.predefined_recognizers")
    except ImportError as error:
        raise InputError(
            "--redact presidio needs presidio-analyzer: pip install presidio-analyzer. Or name a function of your own: "
            "--redact module:function."
        ) from error
    recognizers = [getattr(predefined, name)() for name in _RECOGNIZERS if hasattr(predefined, name)]
    # Its own recognizer of mail addresses asks the network for a list of domains.
    mail = predefined.EmailRecognizer.PATTERNS
    recognizers.append(analyzer.PatternRecognizer(supported_entity="EMAIL_ADDRESS", patterns=mail))
    lock = threading.Lock()

    def redact(text: str) -> str:
        with lock:
            results = [
                (result.start, result.end, result.entity_type)
                for recognizer in recognizers
                for result in recognizer.analyze(text, recognizer.supported_entities, None) or []
                if result.score >= _LEAST_SCORE
            ]
        end = len(text) + 1
        for start, stop, entity in sorted(results, key=lambda result: (-result[0], -result[1])):
            if stop <= end:
                text = f"{text[:start]}[{entity}]{text[stop:]}"
                end = start
        return text

    return redact
