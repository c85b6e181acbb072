"""The precision that a processor is good at: how it is chosen, noted and gone on in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from rader_plugins import Document, RaderIndex, Recipe, load_encoder, processor  # noqa: E402
from rader_plugins.cli import build_app  # noqa: E402
from rader_plugins.encoding.cache import VectorCache  # noqa: E402
from rader_plugins.encoding.models import CPU_DTYPE, pick_dtype  # noqa: E402
from rader_plugins.errors import InputError  # noqa: E402
from rader_plugins.index.storage import Store  # noqa: E402
from rader_plugins.recipes.resolve import write_recipe  # noqa: E402
from rader_plugins.reranking import load_reranker  # noqa: E402
from tests.support.tiny_models import tiny_qwen2  # noqa: E402
from tests.support.tiny_rerankers import tiny_cross_encoder  # noqa: E402

WITH_AMX = "processor\t: 0\nflags\t\t: fpu avx2 avx512f amx_bf16 avx512_bf16 amx_tile amx_int8\nbugs\t:\n"
WITHOUT = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n"
RECIPE = Recipe(name="own", model="?", append_eos=True, max_query_length=64, max_document_length=64)
TEXTS = ["three strangers at a party", "the harmonic mean", "", "0123456789"]


@pytest.fixture
def runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make this the machine that a /proc/cpuinfo describes, without the environment's say."""
    monkeypatch.delenv(CPU_DTYPE)

    def change(text: str) -> None:
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
        processor.processor_features.cache_clear()

    yield change
    processor.processor_features.cache_clear()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    folder = tiny_qwen2(tmp_path / "tiny")
    write_recipe(folder, RECIPE, same_vectors=False)
    return folder


@pytest.mark.parametrize(("text", "precision"), [(WITH_AMX, "bfloat16"), (WITHOUT, "float32"), (ARM, "float32")])
@pytest.mark.slow
def test_what_the_processor_is_good_at(
    text: str, precision: str, runs_on: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_on(text)
    chosen = getattr(torch, precision)
    for dtype in ("auto", None):
        assert pick_dtype(dtype, RECIPE, "cpu") is chosen
    assert pick_dtype("float16", RECIPE, "cpu") is torch.float16
    assert pick_dtype("auto", RECIPE, "cuda:1") is torch.bfloat16
    assert pick_dtype("auto", RECIPE, "mps") is torch.float32
    assert load_encoder(tiny).precision == precision
    report = json.loads(CliRunner().invoke(build_app(), ["doctor", "--json"]).stdout)
    assert report["devices"]["cpu_dtype"] == precision
    assert set(report["devices"]["cpu_features"]) <= set(text.split())
    monkeypatch.setenv(CPU_DTYPE, "float16")
    assert pick_dtype("auto", RECIPE, "cpu") is torch.float16
    assert f"float16 on this CPU, as {CPU_DTYPE} states" in CliRunner().invoke(build_app(), ["doctor"]).stdout
    monkeypatch.setenv(CPU_DTYPE, "half a float")
    with pytest.raises(InputError, match=f"{CPU_DTYPE} is 'half a float'"):
        pick_dtype("auto", RECIPE, "cpu")


def test_nothing_is_known_of_the_processor(runs_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_on("")
    assert processor.processor_features() == frozenset()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert processor.computes_bfloat16()


def test_an_index_goes_on_in_the_precision_that_it_was_made_with(runs_on: Any, tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "index"
    runs_on(WITH_AMX)
    with RaderIndex.create(place, load_encoder(tiny)) as index:
        index.add([Document(str(n), text) for n, text in enumerate(TEXTS) if text])
        assert index.stats()["precision"] == "bfloat16"
        index.copy_to(tmp_path / "copy")
    runs_on(WITHOUT)
    for folder in (place, tmp_path / "copy"):
        with RaderIndex.open(folder) as index:
            assert index.encoder is not None
            assert index.encoder.precision == "bfloat16"
    with RaderIndex.open(place, load_encoder(tiny)) as index:
        assert index.encoder is not None
        assert index.encoder.precision == "float32", "who names an encoder decides"
    info = CliRunner().invoke(build_app(), ["index", "info", str(place)])
    assert "computed in bfloat16" in info.stdout


def test_the_command_line_goes_on_in_it_too(
    runs_on: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rader_plugins.encoding as encoding

    runs_on(WITH_AMX)
    with RaderIndex.create(tmp_path / "index", load_encoder(tiny)) as index:
        index.add([Document("d", "three strangers")])
    runs_on(WITHOUT)
    loaded: list[Any] = []
    real = encoding.load_encoder
    monkeypatch.setattr(encoding, "load_encoder", lambda *a, **o: loaded.append(real(*a, **o)) or loaded[-1])
    search = ["search", str(tmp_path / "index"), "strangers", "--mode", "dense"]
    for options, precision in (
        ([], "bfloat16"),
        (["--device", "cpu"], "bfloat16"),
        (["--model", str(tiny)], "bfloat16"),
        (["--model", str(tiny), "--model-option", "dtype=float32"], "float32"),
    ):
        result = CliRunner().invoke(build_app(), [*search, *options])
        assert result.exit_code == 0, result.output
        assert loaded[-1].precision == precision


def test_an_index_of_before_that_noted_nothing(runs_on: Any, tiny: Path, tmp_path: Path) -> None:
    with RaderIndex.create(tmp_path / "index", load_encoder(tiny, dtype="float16")) as index:
        index.add([Document("d", "three strangers")])
    store = Store(tmp_path / "index" / "index.db", create=False)
    with store.writing() as changes:
        changes.set_meta({"precision": None})
    store.close()
    runs_on(WITHOUT)
    with RaderIndex.open(tmp_path / "index") as index:
        assert index.encoder is not None
        assert index.encoder.precision == "float32"


def test_vectors_of_both_are_alike_and_a_cache_keeps_them_apart(runs_on: Any, tiny: Path, tmp_path: Path) -> None:
    runs_on(WITH_AMX)
    cache = tmp_path / "cache.db"
    rounded, exact = (load_encoder(tiny, dtype=dtype, cache=cache) for dtype in ("auto", "float32"))
    assert rounded.fingerprint == exact.fingerprint
    first, second = rounded.encode_documents(TEXTS), exact.encode_documents(TEXTS)
    assert (first * second).sum(axis=1).min() > 0.99
    assert not np.array_equal(first, second)
    assert len(VectorCache(cache)) == 2 * len(TEXTS)


def test_what_is_saved_is_not_rounded(runs_on: Any, tiny: Path, tmp_path: Path) -> None:
    runs_on(WITH_AMX)
    encoder: Any = load_encoder(tiny)
    encoder.save(tmp_path / "saved")
    stored, original = (load_file(folder / "model.safetensors") for folder in (tmp_path / "saved", tiny))
    assert all(torch.equal(stored[name], tensor) for name, tensor in original.items())
    assert load_encoder(tmp_path / "saved").fingerprint == encoder.fingerprint


def test_scores_of_a_cross_encoder_are_not_rounded_into_ties(runs_on: Any, tmp_path: Path) -> None:
    folder = tiny_cross_encoder(tmp_path / "cross")
    pairs = [("why?", f"because of {number}") for number in range(200)]
    exact = load_reranker(folder, dtype="float32").score_pairs(pairs)
    runs_on(WITH_AMX)
    reranker = load_reranker(folder)
    assert reranker.precision == "bfloat16"
    scores = reranker.score_pairs(pairs)
    rounded = torch.from_numpy(scores).to(torch.bfloat16).float().numpy()
    assert not np.array_equal(scores, rounded)
    assert np.abs(scores - exact).max() < 0.1 * max(1.0, float(np.abs(exact).max()))
