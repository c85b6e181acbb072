"""Samples are written and read a few rows at a time; the same samples give the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from rader_plugins.errors import InputError
from rader_plugins.sample_files import SampleWriter, read_samples, sample_files
from rader_plugins.samples import Passage, Sample


def sample(number: int, negatives: int = 1) -> Sample:
    return Sample(
        query_id=f"q{number}",
        query=f"query {number} \U0001f600 'x'",
        query_kind="cot",
        positives=(Passage("p", "positive", "title", "proof"),),
        negatives=tuple(Passage(f"n{index}", "negative", "", "bm25") for index in range(negatives)),
        problem_id=f"problem-{number}",
        trajectory_id=f"t{number}",
        provenance={"source": "test", "step": number},
        weight=1.0 + number / 4,
    )


def write(folder: Path, count: int, rows_per_shard: int = 20_000) -> Path:
    with SampleWriter(folder, rows_per_shard=rows_per_shard) as writer:
        for number in range(count):
            writer.add("train" if number % 5 else "validation", sample(number, number % 3))
    return folder


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = write(tmp_path / "samples", 23, rows_per_shard=7)
    assert [file.name for file in sample_files(folder)] == [f"train-0000{n}-of-00003.parquet" for n in range(3)]
    expected = [sample(number, number % 3) for number in range(23)]
    assert list(read_samples(folder)) == [row for number, row in enumerate(expected) if number % 5]
    assert list(read_samples(folder, "validation")) == expected[::5]
    tevatron = list(read_samples(folder / "tevatron" / "train.jsonl"))
    assert {row.weight for row in tevatron} == {1.0}  # Tevatron knows no weights
    assert [row.query_id for row in tevatron] == [row.query_id for row in read_samples(folder)]
    assert set(json.loads((folder / "tevatron/train.jsonl").read_text().splitlines()[0])) == {
        "query_id", "query", "positive_passages", "negative_passages",
    }  # fmt: skip


def test_a_folder_of_the_version_before_has_no_weights_and_is_read(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    (file,) = sample_files(write(tmp_path / "samples", 4))
    table = parquet.read_table(file)
    parquet.write_table(table.drop_columns(["weight"]), file)
    assert [row.query_id for row in read_samples(tmp_path / "samples")] == ["q1", "q2", "q3"]
    assert {row.weight for row in read_samples(tmp_path / "samples")} == {1.0}


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, 30, rows_per_shard=9) for name in ("a", "b"))
    files = sorted(file.relative_to(first) for file in first.rglob("*") if file.is_file())
    assert len(files) == 3 + 1 + 2
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_a_shard_without_negatives_has_the_schema_of_the_others(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    with SampleWriter(tmp_path / "s", rows_per_shard=1) as writer:
        writer.add("train", sample(0, negatives=0))
        writer.add("train", sample(1, negatives=2))
    first, second = (parquet.read_schema(file) for file in sample_files(tmp_path / "s"))
    assert first.equals(second, check_metadata=True)


def test_a_block_that_fails_leaves_no_split_that_could_be_taken_for_complete(tmp_path: Path) -> None:
    def fail() -> None:
        with SampleWriter(tmp_path / "s", rows_per_shard=1) as writer:
            writer.add("train", sample(0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list((tmp_path / "s").glob("data/*-of-*"))


def test_unusable_places_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "samples", 6)
    with pytest.raises(InputError, match="has no split 'test'; it has train, validation"):
        list(read_samples(folder, "test"))
    with pytest.raises(InputError, match="holds samples already"):
        SampleWriter(folder)
    with pytest.raises(InputError, match="There is no file or folder"):
        list(read_samples(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="holds no samples"):
        list(read_samples(tmp_path))
    with pytest.raises(InputError, match="plain word"), SampleWriter(tmp_path / "w") as writer:
        writer.add("../train", sample(1))
    file = sample_files(folder)[0]
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match="damaged or no Parquet file"):
        list(read_samples(folder))
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b'{"query_id": "1", "query": "\xff", "positive_passages": []}\n')
    with pytest.raises(InputError, match="bad.jsonl, line 1"):
        list(read_samples(bad))
    bad.write_text('{"query_id": "1", "query": "q"}\n')
    with pytest.raises(InputError, match=r"bad.jsonl, row 1 has neither 'positives'"):
        list(read_samples(bad))
