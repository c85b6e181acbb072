"""What models were trained on, as far as their cards and papers say so, and whether BRIGHT's corpora were among it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TrainingData", "training_data"]


@dataclass(frozen=True)
class TrainingData:
    """What one family of models was trained on.

    Args:
        saw_bright: Documents of BRIGHT's corpora were among it. Figures on BRIGHT are then higher than on a corpus of
            one's own.
        remark: What it was, and who says so.
        splits: Splits of BRIGHT whose documents were among it; empty for most or all.
    """

    saw_bright: bool
    remark: str
    splits: tuple[str, ...] = ()


# Beginning of the hub id -> data.
_FAMILIES = {
    "raderspace/": TrainingData(
        True,
        "searches over a corpus of theorems that is BRIGHT's theoremqa_theorems (its published code); problems of MATH "
        "and NuminaMath",
        ("theoremqa_theorems",),
    ),
    "reasonir/": TrainingData(
        True, "hard queries of reasonir-data, whose positive documents are BRIGHT's (so mteb); MS MARCO, NQ, ..."
    ),
    "aq-medai/diver-retriever": TrainingData(
        True, "reasonir-data among others, whose positive documents are BRIGHT's (its card; marked so by mteb)"
    ),
    "rader-plugins/rader-mini": TrainingData(False, "proofs of EntailmentBank, on top of mini"),
    "sentence-transformers/all-minilm-l6-v2": TrainingData(
        False, "a billion public pairs, Stack Exchange among them; BRIGHT is not listed (its card)"
    ),
}


def training_data(model: str) -> TrainingData | None:
    """Return what a model was trained on; None where nothing is stated.

    Args:
        model: Hub id of the model.

    Example:
        >>> training_data("AQ-MedAI/Diver-Retriever-4B").saw_bright
        True
    """
    name = model.lower()
    return next((data for prefix, data in _FAMILIES.items() if name.startswith(prefix)), None)
