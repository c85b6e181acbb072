"""Whether a run is of use: why nothing came out of it that could be trained on, and what looks wrong in it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["remarks", "shortfall"]

_MOSTLY = 0.5
_MANY = 0.25
_FEWEST = 8  # answers that tell something


def shortfall(totals: Mapping[str, int]) -> str | None:
    """Return why no trajectory of a run is fit for training, and what to do; None if one is.

    Args:
        totals: Counts of the run, as :class:`rader_synthesis.run_config.RunReport` has them.
    """
    if totals.get("training", 0):
        return None
    searched = totals.get("solved", 0) + totals.get("unsolved", 0)
    if not searched:
        return "No problem was searched to its end: see problems.jsonl for the reasons."
    summary = f"Nothing came out that could be trained on: {totals.get('solved', 0):,} of {searched:,} problems solved"
    causes = [*_silent(totals, _MOSTLY), *_unreadable(totals, _MOSTLY)]
    if not totals.get("right_rollouts"):
        causes.append(
            f"none of {totals.get('rollouts', 0):,} rollouts came to the right answer. Look at the answers that were "
            "reached (`rader trajectories show`): is the checker (--checker) the one for them, and the model able to "
            "solve such problems?"
        )
    elif not totals.get("documents_kept"):
        rejected = totals.get("documents_rejected", 0)
        causes.append(
            f"the model kept none of the documents that it found ({rejected:,} rejected). Does the corpus hold what "
            "these problems need?"
            if rejected
            else "nothing was retrieved. Do the problems ask for anything in the corpus?"
        )
    else:
        causes.append("right answers came without a document that was kept: more --rollouts find more ways.")
    return f"{summary}; {'; '.join(causes)}"


def remarks(totals: Mapping[str, int]) -> list[str]:
    """Return what looks wrong in a run that gave something, one sentence each."""
    parts = [*_silent(totals, _MANY), *_unreadable(totals, _MANY)]
    if totals.get("filtered_reflections"):
        parts.append(
            f"{totals['filtered_reflections']:,} documents stay unlabelled: the provider's content filter refuses them."
        )
    return [part[0].upper() + part[1:] for part in parts]


def _silent(totals: Mapping[str, int], share: float) -> list[str]:
    """Return a sentence where so large a share of the answers says nothing, or was cut."""
    answers = totals.get("answers", 0)
    if answers < _FEWEST:
        return []
    empty, cut = totals.get("empty_answers", 0), totals.get("cut_answers", 0)
    if empty >= share * answers:
        return [
            f"{empty:,} of {answers:,} answers of the model are empty. A model that thinks first may use up all tokens "
            "(max_tokens in the prompt files) on it, or wants its thinking switched off (--llm-extra)."
        ]
    if cut >= share * answers:
        return [
            f"{cut:,} of {answers:,} answers of the model were cut at the most tokens: raise max_tokens in the prompt "
            "files, or use the --style that the model was trained for."
        ]
    return []


def _unreadable(totals: Mapping[str, int], share: float) -> list[str]:
    """Return a sentence where so many judgements of documents say neither yes nor no."""
    unreadable = totals.get("unreadable_reflections", 0)
    total = unreadable + totals.get("documents_kept", 0) + totals.get("documents_rejected", 0)
    if unreadable < _FEWEST or unreadable < share * total:
        return []
    return [f"{unreadable:,} of {total:,} judgements of documents cannot be read: see the prompt file reflect.toml."]
