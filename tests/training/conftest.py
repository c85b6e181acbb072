from __future__ import annotations

from pathlib import Path

import pytest

for needed in ("sentence_transformers", "peft", "accelerate", "datasets"):
    pytest.importorskip(needed)

from rader_plugins.recipes import Recipe  # noqa: E402
from rader_plugins.recipes.resolve import write_recipe  # noqa: E402
from rader_plugins.sample_files import SampleWriter  # noqa: E402
from rader_plugins.samples import Passage, Sample  # noqa: E402
from tests.support.tiny_models import tiny_qwen2  # noqa: E402

ANIMALS = ["cat", "dog", "horse", "mouse", "eagle", "shark", "whale", "snake"]


def toy_samples(count: int = 16) -> list[Sample]:
    """Questions about animals; each animal has one document, and two others are its hard negatives."""
    documents = [Passage(animal, f"the {animal} lives here", "", "") for animal in ANIMALS]
    toys = []
    for number in range(count):
        index = number % len(ANIMALS)
        negatives = (documents[(index + 1) % len(ANIMALS)], documents[(index + 3) % len(ANIMALS)])
        toys.append(
            Sample(
                f"q{number}",
                f"where is number {number} of {ANIMALS[index]}",
                "cot" if number % 2 else "question",
                (documents[index],),
                negatives,
                f"p{number}",
            )
        )
    return toys


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples") / "samples"
    with SampleWriter(folder) as writer:
        for sample in toy_samples():
            writer.add("train", sample)
    return folder


@pytest.fixture
def samples(sample_folder: Path) -> Path:
    return sample_folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2 with RaDeR's template."""
    folder = tiny_qwen2(tmp_path_factory.mktemp("tiny") / "model")
    recipe = Recipe(
        name="tiny",
        model="tiny",
        query_template="query: {text}",
        document_template="document: {text}",
        pooling="lasttoken",
        append_eos=True,
        max_query_length=32,
        max_document_length=24,
    )
    write_recipe(folder, recipe, same_vectors=False)
    return folder
