"""The data card: ``card.json`` for programs, ``README.md`` for people and for ``datasets``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import rader_plugins
from rader_plugins.evaluation.overlap import EvaluationSet
from rader_plugins.query_kinds import query_kind, query_kinds
from rader_plugins.samples import SAMPLE_SCHEMA
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.sampling.statistics import MOST_LISTED, Statistics

__all__ = ["CARD_SCHEMA", "card", "readme"]

CARD_SCHEMA = "rader-samples-card/1"
_SPLITS = ("train", "validation")


def card(
    config: SamplingConfig,
    statistics: Statistics,
    *,
    inputs: Sequence[Mapping[str, str]],
    families: Mapping[str, int],
    evaluation_sets: Sequence[EvaluationSet],
    documents: Mapping[str, Any],
    llm: Mapping[str, Any] | None,
    mined: Mapping[str, bool],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of ``card.json``. Nothing in it depends on place or time."""
    return {
        "schema": CARD_SCHEMA,
        "sample_schema": SAMPLE_SCHEMA,
        "rader_plugins": rader_plugins.__version__,
        "samples": {
            split: {kind: kinds[kind].as_dict() for kind in query_kinds() if kind in kinds}
            for split, kinds in sorted(statistics.samples.items())
        },
        "problem_families": dict(families),
        "trajectories": _counts(statistics.trajectories),
        "sources": _counts(statistics.sources),
        "answers": {**_counts(statistics.rewards), "right_share": statistics.right_share},
        "labels": {
            **_counts(statistics.labels),
            "rejection_rate": statistics.rejection_rate,
            "labelled_by": _counts(statistics.labelled_by),
        },
        "positives_labelled_by": _counts(statistics.positives_by),
        "dropped": _counts(statistics.dropped),
        "decontamination": {
            "ngram": config.ngram,
            "against": [
                {
                    "name": entry.name,
                    "queries": entry.queries,
                    "fingerprint": entry.fingerprint,
                    "corpus_documents": entry.documents,
                }
                for entry in evaluation_sets
            ],
            "overlaps": _counts(statistics.overlap_counts),
            "listed": statistics.overlaps,
        },
        "documents": dict(documents),
        "llm": None if llm is None else dict(llm),
        "negatives_from": {"rejected": True, **mined},
        "config": config.as_dict(),
        "inputs": [dict(entry) for entry in inputs],
        "about": dict(about),
    }


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: number for name, number in sorted(counts.items()) if number}


def readme(content: Mapping[str, Any]) -> str:
    """Return the text of ``README.md``: the head that ``datasets`` reads, and the figures of the card."""
    splits = [split for split in _SPLITS if split in content["samples"]]
    head = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        head += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    head += ["tags:", "- retrieval", "- rader", "---", ""]
    body = [
        "# Training samples for a reasoning-aware retriever",
        "",
        "Made by `rader samples` (rader-plugins "
        f"{content['rader_plugins']}): queries with documents that helped to answer them, and hard negatives. "
        '`datasets.load_dataset("<this folder>")` reads it; `tevatron/` holds the same for Tevatron. Every figure here '
        "is in `card.json`.",
        "",
        *_table(content, splits),
        "",
        *_lines(content),
    ]
    return "\n".join([*head, *body]) + "\n"


def _table(content: Mapping[str, Any], splits: Sequence[str]) -> list[str]:
    lines = [
        "| query | " + " | ".join(splits) + " | positives | negatives | words: median, 90%, most |",
        "|---" * (len(splits) + 4) + "|",
    ]
    for kind in query_kinds():
        figures = {split: content["samples"][split][kind] for split in splits if kind in content["samples"][split]}
        if not figures:
            continue
        main = next(iter(figures.values()))
        negatives = ", ".join(f"{number:g} {origin}" for origin, number in main["negatives_per_sample"].items())
        words = main["query_words"]
        cells = [
            kind,
            *(f"{figures[split]['samples']:,}" if split in figures else "0" for split in splits),
            f"{main['positives_per_sample']:g}",
            negatives or "none",
            f"{words['p50']}, {words['p90']}, {words['max']}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    kinds_present = [kind for kind in query_kinds() if any(kind in content["samples"][split] for split in splits)]
    lines += ["", *(f"- `{kind}`: {query_kind(kind).summary}" for kind in kinds_present)]
    if content["llm"] is None:
        lines.append("- No language model was given, so that there are no `llm` and `lexical` queries.")
    return lines


def _lines(content: Mapping[str, Any]) -> list[str]:
    config, answers, labels = content["config"], content["answers"], content["labels"]
    families = content["problem_families"]
    lines = [
        "## Where it comes from",
        "",
        f"- Trajectories: {_listed(content['trajectories'])}. Made by: {_listed(content['sources'])}.",
        f"- Right answers: {_percent(answers['right_share'])} of those that were judged.",
        f"- Documents: {_percent(labels['rejection_rate'])} of those labelled were rejected. Labels by: "
        f"{_listed(labels['labelled_by'])}.",
        f"- Positives are relevant according to: {_listed(content['positives_labelled_by'])}.",
    ]
    if config["without_reward"]:
        lines.append("- Trajectories without a judged answer were used where a proof, a citation or a human labelled.")
    lines += [
        "- Negatives: rejected documents"
        + _mined_text(content)
        + ". None is relevant to the same problem, in any of its "
        "trajectories, or has the text of a document that is.",
        f"- Splits: by problem, problems with nearly the same question together ({families['train']:,} and "
        f"{families['validation']:,} such families); seed {config['seed']}.",
        f"- Left out or merged: {_listed(content['dropped']) or 'nothing'}.",
    ]
    if content["llm"] is not None:
        cost = content["llm"]
        lines.append(
            f"- Language model: {cost['calls']:,} calls for these samples; {cost['requests']:,} requests, "
            f"{cost['prompt_tokens']:,} tokens read and {cost['completion_tokens']:,} written over all runs with its "
            "cache."
        )
    return [*lines, "", "## Overlap with evaluation", "", *_overlap(content)]


def _mined_text(content: Mapping[str, Any]) -> str:
    config, mined = content["config"], content["negatives_from"]
    if not mined["bm25"]:
        return "; none were searched for"
    first, last = config["bm25_ranks"]
    text = f", {config['bm25_negatives']} of BM25's ranks {first} to {last}"
    if mined["dense"]:
        text += f" and the {config['dense_negatives']} best by cosine"
    if config["mine"] == "auto":
        text += f" (for queries that are not `lexical`, up to {config['enough']} in all)"
    return text


def _overlap(content: Mapping[str, Any]) -> list[str]:
    figures = content["decontamination"]
    if not figures["against"]:
        return ["Not looked for: no evaluation set was named (`--against`)."]
    lines = []
    documents = content["documents"]
    for entry in figures["against"]:
        removed = sum(
            number for name, number in figures["overlaps"].items() if name.rpartition(": ")[0] == entry["name"]
        )
        text = (
            f"- {entry['name']} ({entry['queries']:,} queries): {removed:,} problems or queries had the same words or "
            f"{figures['ngram']} words in a row in common, and were left out."
        )
        shared = documents["in_evaluation_corpora"].get(entry["name"])
        if shared:
            text += (
                f" **Its corpus holds {shared:,} of the {documents['positives']:,} positives of these samples**: a "
                "model trained on them has seen documents that it is evaluated on."
            )
        lines.append(text)
    if sum(figures["overlaps"].values()) > MOST_LISTED:
        lines.append(f"- card.json lists the first {MOST_LISTED:,} by id.")
    return lines


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"
