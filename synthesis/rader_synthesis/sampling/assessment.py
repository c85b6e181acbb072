"""What a sample set is good for: what there is, what is worth adding, what looks wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rader_synthesis.sampling.human_labels import UNUSED_LABEL
from rader_synthesis.sampling.statistics import Statistics

__all__ = ["advice", "warnings"]

# Rules of thumb by the sizes of published sets (RaDeR's 43,120 from scratch, hundreds to a few thousand where a model
# was adapted to a domain). Nobody measured them as limits, and the advice says so.
_LEVELS = (
    (200, "enough to see the loop work, too few to change a model for the better"),
    (2_000, "enough to adapt a model that is good already (an adapter, few steps, checked on questions of yours)"),
    (20_000, "enough to train on; more problems help more than more queries of the same"),
)
_PAPER = 43_120
"""Samples that RaDeR made of MATH."""


def warnings(card: Mapping[str, Any], statistics: Statistics) -> list[str]:
    """Return what looks wrong in a sample set, one sentence each.

    Args:
        card: Card of the sample set, but for the warnings.
        statistics: What the run counted.
    """
    sentences = [
        f"Queries of the kind {kind}: {warning}. Read some of them, and the prompt, before training on them."
        for kind, quality in sorted(statistics.queries.items())
        for warning in quality.warnings()
    ]
    kinds_present = {kind for kinds in card["samples"].values() for kind in kinds}
    for kind in card["config"]["kinds"]:
        if kind not in kinds_present:
            reasons = [name for name, number in card["dropped"].items() if name.startswith(f"{kind}") and number]
            sentences.append(f"There is no sample of the kind {kind}{': ' + '; '.join(reasons) if reasons else ''}.")
    train = card["samples"].get("train", {})
    samples = sum(kind["samples"] for kind in train.values())
    bare = sum(kind["without_negatives"] for kind in train.values())
    if samples and 2 * bare > samples:
        sentences.append(
            f"{bare:,} of {samples:,} training samples have no hard negative; --corpus or --index finds some."
        )
    unfit = card["human_labels"]["given"] - card["human_labels"]["applied"]
    if unfit:
        sentences.append(f"{unfit:,} of {card['human_labels']['given']:,} labels of a person fit no search here.")
    unused = sum(number for name, number in card["dropped"].items() if name.startswith(UNUSED_LABEL))
    if unused:
        sentences.append(
            f"{unused:,} documents that a person labelled stand in trajectories that are not used; --without-reward "
            "uses those whose answer nobody judged, --min-reward those whose answer is good enough."
        )
    return sentences


def advice(card: Mapping[str, Any]) -> list[str]:
    """Return what a sample set is good for and what is worth adding, one sentence each."""
    samples = sum(kind["samples"] for kind in card["samples"].get("train", {}).values())
    problems = sum(card["problem_families"].values())
    level = next((text for limit, text in _LEVELS if samples < limit), "as many as a model trained from scratch needs")
    different = f"{problems:,} different problem{'' if problems == 1 else 's'}"
    number = f"{samples:,} training sample{'' if samples == 1 else 's'}"
    lines = [f"{number} of {different}: {level}, as a rule of thumb (RaDeR: {_PAPER:,})."]
    following = next((limit for limit, _ in _LEVELS if samples < limit), None)
    if following is not None and problems:
        problems_missing = max(1, round((following - samples) / max(1.0, samples / problems)))
        lines.append(
            f"About {problems_missing:,} more problems would take it to the next level, {following:,} samples."
        )
    positives = card["documents"]["positives"]
    missing = [name for name in ("llm", "lexical") if name not in card["config"]["kinds"]]
    if missing and positives:
        used = card["trajectories"].get("used", 0)
        numbers = {"llm": f"{used:,} or more llm", "lexical": f"about {positives:,} lexical"}
        joined = " and ".join(numbers[name] for name in missing)
        lines.append(f"A language model would add {joined} queries (--llm-url).")
    return lines
