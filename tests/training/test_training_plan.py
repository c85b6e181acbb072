"""What a run is going to do, what is refused before it does anything, and what the end says."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from rader_training import RerankerConfig, RetrieverConfig, prepare_reranker, prepare_retriever
from rader_training.defaults import SMALL, Facts, fitted, fitted_steps
from rader_training.run.curves import draw_curves
from rader_training.run.plan import count_steps
from rader_training.run.verdict import judge, not_compared
from typer.testing import CliRunner

from rader_plugins import Document
from rader_plugins.cli import build_app
from rader_plugins.errors import InputError, MissingExtraError
from rader_plugins.files import write_jsonl
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import read_directory
from rader_plugins.sample_files import SampleWriter
from tests.support.tiny_models import tiny_bert
from tests.training.conftest import toy_samples
from tests.training.support import FAST, reranker_config, retriever_config, train_reranker, train_retriever
from tests.training.test_training_retriever import toy_dataset

LARGE, LITTLE = Facts(7_000_000_000, 43_120), Facts(22_000_000, 3_000)


def test_large_models_keep_the_papers_values() -> None:
    config = fitted(RetrieverConfig(), LARGE)
    paper = {"group_size": 12, "batch_size": 2, "accumulate": 16, "learning_rate": 1e-4, "epochs": 1.0, "lora": True}
    paper |= {"temperature": 0.01, "random_negatives": 0, "merge_weight": 1.0}
    assert {name: getattr(config, name) for name in paper} == paper
    assert fitted_steps(config, LARGE, 674, evaluated=False).warmup_steps == 28


def test_small_models_get_their_own_and_few_samples_small_batches() -> None:
    config = fitted(RetrieverConfig(), LITTLE)
    assert config.lora is False
    assert config.temperature > 0.01
    assert config.random_negatives > 0
    assert config.dropout == 0
    assert fitted(RetrieverConfig(dropout=0.2), LITTLE).dropout == 0.2
    assert fitted(RetrieverConfig(), LARGE).dropout is None, "as its checkpoint has it"
    assert config.batch_size > fitted(RetrieverConfig(), Facts(22_000_000, 100)).batch_size
    assert all(
        value is not None
        for name, value in dataclasses.asdict(fitted(RerankerConfig(), LITTLE)).items()
        if name
        not in (
            "dropout",
            "max_query_length",
            "max_document_length",
            "bf16",
            "save_every",
            "warmup_steps",
            "evaluate_every",
        )
    )
    for steps in (1, 9, 10, 1000):
        assert fitted_steps(config, LITTLE, steps, evaluated=True).warmup_steps < steps


def test_questions_are_seen_more_often_where_there_are_other_kinds_too() -> None:
    """Whatever the numbers are, it is for small retrievers alone, and what is stated comes before it."""
    mixed = dataclasses.replace(LITTLE, mixed=True)
    assert fitted(RetrieverConfig(), mixed).kinds["question"] > 1
    for config, facts in (
        (RetrieverConfig(), LITTLE),
        (RetrieverConfig(kinds={}), mixed),
        (RerankerConfig(), mixed),
        (RetrieverConfig(), dataclasses.replace(LARGE, mixed=True)),
    ):
        assert fitted(config, facts).kinds == {}
        assert fitted(config, facts).epochs == fitted(config, dataclasses.replace(facts, mixed=False)).epochs
    assert fitted(RetrieverConfig(kinds={"cot": 3.0}, epochs=4), mixed).kinds == {"cot": 3.0}


@pytest.mark.parametrize("kinds", [["question", "cot"], ["cot", "cot"], ["question", "question"]])
def test_the_plan_tells_how_often_kinds_are_seen(kinds: list[str], tiny: Path, tmp_path: Path) -> None:
    samples = [dataclasses.replace(sample, query_kind=kinds[number % 2]) for number, sample in enumerate(toy_samples())]
    write_jsonl(tmp_path / "samples.jsonl", [sample.row() for sample in samples])
    options: dict[str, Any] = {"device": "cpu", "holdout": False}
    run = prepare_retriever(tmp_path / "samples.jsonl", str(tiny), tmp_path / "run", **options)
    seen_once = prepare_retriever(
        tmp_path / "samples.jsonl", str(tiny), tmp_path / "run", RetrieverConfig(kinds={}), **options
    )
    unequal = len(set(kinds)) == 2
    assert any("question x" in note for note in run.plan.notes) is unequal
    assert (len(run.groups) > len(seen_once.groups)) is unequal


def test_what_is_stated_stays() -> None:
    stated = RetrieverConfig(batch_size=7, learning_rate=0.5, lora=True, temperature=0.3, epochs=4, merge_weight=0.9)
    for facts in (LARGE, LITTLE):
        config = fitted(stated, facts)
        assert (config.batch_size, config.learning_rate, config.lora, config.temperature) == (7, 0.5, True, 0.3)
        assert (config.epochs, config.merge_weight) == (4, 0.9)


def test_an_option_of_adapters_asks_for_one() -> None:
    for config, keeps in ((RetrieverConfig(lora_rank=4), False), (RetrieverConfig(), True)):
        fitted_config = fitted(config, Facts(SMALL - 1, 100, keeps_adapter=keeps))
        assert fitted_config.lora is True
        assert fitted_config.learning_rate > fitted(RetrieverConfig(), Facts(SMALL - 1, 100)).learning_rate


def test_steps_are_those_of_the_epochs_or_fewer() -> None:
    config = RetrieverConfig(batch_size=4, accumulate=2, epochs=3)
    assert count_steps(config, 33, 1, epochs_stated=True) == 3 * 5
    assert count_steps(config, 33, 2, epochs_stated=True) == 3 * 2, "a batch that is not full is left out"
    limited = dataclasses.replace(config, max_steps=7)
    assert count_steps(limited, 33, 1, epochs_stated=True) == 7
    assert count_steps(dataclasses.replace(config, max_steps=70), 33, 1, epochs_stated=True) == 15
    assert count_steps(dataclasses.replace(config, max_steps=70), 33, 1, epochs_stated=False) == 70


# Refused before anything is trained


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"warmup_steps": 28}, {}, "warm-up. Set warmup_steps below"),
        ({"max_document_length": 5000}, {}, "max_document_length is 5000.*4096 positions"),
        ({"max_query_length": 5000}, {}, "max_query_length is 5000.*4096 positions"),
        ({"patience": 2}, {"holdout": False}, "patience.*nothing to evaluate on"),
        ({"evaluate_every": 2}, {"holdout": False}, "evaluate_every has no effect"),
        ({"dropout": 0.5}, {}, "no dropout layers"),
        ({}, {"report_to": "nowhere"}, "tensorboard, wandb, trackio"),
        ({}, {"push_to_hub": "no name"}, "named like"),
        ({}, {"push_to_hub": "you/name"}, "HF_HUB_OFFLINE|token"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.parametrize("kind", ["retriever", "reranker"])
def test_options_without_effect_or_sense(
    kind: str,
    settings: dict[str, Any],
    options: dict[str, Any],
    message: str,
    tiny: Path,
    samples: Path,
    tmp_path: Path,
) -> None:
    train, config = (train_retriever, retriever_config) if kind == "retriever" else (train_reranker, reranker_config)
    with pytest.raises(InputError, match=message):
        train(samples, str(tiny), tmp_path / "run", config(**settings), device="cpu", **options)
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"lora": False, "lora_rank": 4},
        {"lora": False, "lora_layers": [0]},
        {"anchors": 5},
        {"reasoning_weight": 0.5, "batch_size": 1},
        {"matryoshka": [0]},
        {"merge_weight": 0},
    ],
    ids=str,
)
def test_settings_that_contradict_each_other(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        RetrieverConfig(**wrong)


def test_without_any_negatives(tiny: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "s.jsonl", [{"anchor": f"q{number}", "positive": f"p{number}"} for number in range(8)])
    for settings in ({"batch_size": 1}, {"in_batch_negatives": False}):
        with pytest.raises(InputError, match="nothing to tell a positive from"):
            prepare_retriever(tmp_path / "s.jsonl", str(tiny), tmp_path / "run", retriever_config(**settings))


def test_lengths_of_matryoshka_are_below_the_vectors(tiny: Path, samples: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="below the vectors' 32"):
        prepare_retriever(samples, str(tiny), tmp_path / "run", retriever_config(matryoshka=[32]))


def test_depth_without_an_evaluation(tiny: Path, samples: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="depth"):
        prepare_reranker(samples, str(tiny), tmp_path / "run", reranker_config(depth=5), holdout=False)


def test_a_file_for_the_other_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[retriever]\nbatch_size = 4\n", encoding="utf-8")
    assert RetrieverConfig.from_toml(tmp_path / "c.toml").batch_size == 4
    with pytest.raises(InputError, match=r"configures a retriever, and a reranker is to be trained"):
        RerankerConfig.from_toml(tmp_path / "c.toml")
    (tmp_path / "c.toml").write_text("[reranker]\nbatch_size = 4\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"configures a reranker, and a retriever is to be trained"):
        RetrieverConfig.from_toml(tmp_path / "c.toml")


# The plan


def test_the_plan_alone_is_printed_and_nothing_written(tiny: Path, samples: Path, tmp_path: Path) -> None:
    command = ["train", "retriever", str(samples), "--base", str(tiny), "--out", str(tmp_path / "run"), "--plan"]
    result = CliRunner().invoke(build_app(), [*command, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    for words in ("samples 15 (", "; 1 held out", "steps", "warm-up", "hard ones", "1 of 16 problems, held out"):
        assert words in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()
    plan = json.loads(CliRunner().invoke(build_app(), [*command, "--device", "cpu", "--json"]).stdout)
    assert plan["data"]["samples"] == 15
    assert plan["config"]["learning_rate"] == plan["learning_rate"] > 0
    assert plan["minutes"] > 0


def test_evaluating_on_the_samples_themselves(tiny: Path, samples: Path, tmp_path: Path) -> None:
    def plan(*arguments: str | Path) -> Any:
        command = [*arguments, "--base", tiny, "--out", tmp_path / "run", "--device", "cpu", "--plan"]
        return CliRunner().invoke(build_app(), ["train", "retriever", *map(str, command)])

    with SampleWriter(tmp_path / "own") as writer:
        for sample in toy_samples():
            writer.add("train", sample)
        unseen = dataclasses.replace(toy_samples()[0], query_id="v", query="an unseen query", problem_id="v")
        writer.add("validation", unseen)
    own = tmp_path / "own"
    evaluated = plan(own, "--evaluate-on", own)
    assert evaluated.exit_code == 0, evaluated.output
    assert "1 queries over 8 documents (the validation split" in " ".join(evaluated.output.split())
    for arguments, message in (
        ([samples, "--evaluate-on", samples], "'validation' alone"),
        ([own, "--evaluate-on", own, "--split", "train"], "'validation' alone"),
        ([own, "--evaluate-on", own, "--no-holdout"], "leave one out"),
        ([own, samples, "--evaluate-on", own], "leave --evaluate-on out"),
    ):
        refused = plan(*arguments)
        assert refused.exit_code == 2, refused.output
        assert message in refused.output


@pytest.mark.slow
def test_a_plain_checkpoint_with_a_pooling(samples: Path, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    command = ["train", "retriever", str(samples), "--base", str(folder), "--device", "cpu", "--no-holdout"]
    command += ["--export-anyway", "--out", str(tmp_path / "run"), "--json"]
    wrong = CliRunner().invoke(build_app(), [*command, "--pooling", "max"])
    assert (wrong.exit_code, "mean, cls or lasttoken" in wrong.output) == (2, True)
    (tmp_path / "c.toml").write_text("[retriever]\nmax_steps = 1\n", encoding="utf-8")
    command += ["--pooling", "mean", "--config", str(tmp_path / "c.toml")]
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "model" / "modules.json").is_file()


# The verdict


def values(*numbers: float) -> dict[str, float]:
    return {f"q{index}": number for index, number in enumerate(numbers)}


def test_verdicts() -> None:
    low, high = values(*[0.1] * 10), values(*[0.9] * 10)
    assert judge("the base", low, high).outcome == "better"
    assert judge("the base", high, low).outcome == "worse"
    assert judge("the base", low, low).outcome == "no difference"
    assert judge("the base", low, values(*[0.1] * 9, 0.2)).outcome == "no difference"
    assert judge("the base", low, low, moved=0.0).outcome == "unchanged"
    # One query shows nothing, unless most of what was there is gone.
    assert judge("the base", values(0.5), values(0.9)).outcome == "no difference"
    assert judge("the base", values(0.9), values(0.6)).outcome == "no difference"
    assert judge("the base", values(0.9), values(0.3)).outcome == "worse"
    assert (not_compared(0.0).outcome, not_compared(0.1).outcome) == ("unchanged", "not compared")


def test_queries_of_one_problem_count_once() -> None:
    low, high = values(*[0.1] * 10), values(*[0.9] * 10)
    alone = judge("the base", low, high, problems=dict.fromkeys(low, "the only problem"))
    assert (alone.outcome, alone.problems, alone.queries) == ("no difference", 1, 10)


def test_a_mean_of_queries_is_not_confirmed_by_a_test_of_problems_that_says_the_opposite() -> None:
    """One problem of many queries gains, all others lose; and the reverse."""
    many, few = [f"q{number}" for number in range(100)], [f"p{number}" for number in range(20)]
    low = {**dict.fromkeys(many, 0.5), **dict.fromkeys(few, 0.6)}
    high = {**dict.fromkeys(many, 0.6), **dict.fromkeys(few, 0.4)}
    problems = dict.fromkeys(many, "the one")
    assert judge("the base", low, high, problems=problems).outcome == "no difference"
    assert judge("the base", high, low, problems=problems).outcome == "no difference"


@pytest.mark.parametrize("outcome", ["better", "no difference", "worse", "unchanged"])
def test_verdicts_are_told_in_words(outcome: Any) -> None:
    verdict = dataclasses.replace(judge("its first stage", values(0.5), values(0.4)), outcome=outcome)
    assert verdict.sentence.casefold().startswith(outcome.split()[0])
    assert verdict.usable == (outcome not in ("worse", "unchanged"))


@pytest.mark.slow
def test_a_training_that_moves_nothing_is_not_delivered(tiny: Path, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        "[retriever]\n"
        + "".join(f"{name} = {json.dumps(value)}\n" for name, value in {**FAST, "learning_rate": 1e-30}.items()),
        encoding="utf-8",
    )
    command = ["train", "retriever", str(samples), "--base", str(tiny), "--out", str(tmp_path / "run"), "--no-holdout"]
    result = CliRunner().invoke(build_app(), [*command, "--device", "cpu", "--config", str(tmp_path / "c.toml")])
    assert result.exit_code == 3, result.output
    assert "Unchanged: the training moved nothing" in result.output
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.slow
def test_a_reranker_is_compared_with_its_first_stage(tiny: Path, samples: Path, tmp_path: Path) -> None:
    report = train_reranker(
        samples, str(tiny), tmp_path / "run", reranker_config(max_steps=1), evaluate_on=toy_dataset(), device="cpu"
    )
    assert report.verdict.reference == "BM25, its first stage"
    assert report.verdict.queries == 8


# The end of a run


@pytest.mark.parametrize("kind", ["retriever", "reranker"])
@pytest.mark.slow
def test_a_finished_run_trains_nothing_more(
    kind: str, tiny: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, config = (train_retriever, retriever_config) if kind == "retriever" else (train_reranker, reranker_config)
    settings = config(epochs=9, learning_rate=1e-9, evaluate_every=1, patience=2, save_every=1)

    def run(resume: bool) -> Any:
        return train(
            samples, str(tiny), tmp_path / "run", settings, evaluate_on=toy_dataset(), device="cpu", resume=resume
        )

    first = run(False)
    assert first.steps < 36, "patience ended it"
    weights = (first.model / "model.safetensors").read_bytes()
    monkeypatch.setattr("transformers.Trainer.train", None)  # nothing may be trained from here on
    second = run(True)
    assert (second.resumed, second.steps, second.verdict) == ("finished", first.steps, first.verdict)
    assert second.evaluations == first.evaluations
    # Killed before the model was written, and before the end was written down.
    for lost in (["model"], ["model", "finished.json"]):
        for name in lost:
            path = tmp_path / "run" / name
            path.rename(tmp_path / f"lost-{len(lost)}-{name}")
        third = run(True)
        assert third.steps == first.steps
        assert (third.model / "model.safetensors").read_bytes() == weights


def test_a_run_goes_on_with_the_settings_that_it_was_begun_with(samples: Path, tmp_path: Path) -> None:
    """Also where it had no value for a setting that has a default now: nothing would fit the weights that are there."""
    recipe = Recipe(name="bert", model=str(tiny_bert(tmp_path / "bert")))
    run = tmp_path / "run"

    def prepared(resume: bool, **settings: Any) -> dict[str, Any]:
        return prepare_retriever(
            samples, recipe, run, RetrieverConfig(**settings), device="cpu", resume=resume
        ).config.as_dict()

    new = prepared(False)
    assert new["dropout"] == 0
    earlier = {**new, "dropout": None, "learning_rate": 3e-5, "merge_weight": 0.25, "temperature": 0.7}
    run.mkdir()
    (run / "training.json").write_text(json.dumps({"config": earlier, "held_out": None}), encoding="utf-8")
    assert prepared(True) == earlier
    assert prepared(True, dropout=0.1) == {**earlier, "dropout": 0.1}
    assert prepared(False) == new


@pytest.mark.slow
def test_a_finished_run_gives_what_it_is_asked_for_later(tiny: Path, samples: Path, tmp_path: Path) -> None:
    def run(**options: Any) -> Any:
        return train_retriever(
            samples, str(tiny), tmp_path / "run", retriever_config(), device="cpu", resume=bool(options), **options
        )

    run()
    later = run(keep_adapter=True, name="other")
    assert later.resumed == "finished"
    assert (later.adapter / "adapter_model.safetensors").is_file()
    assert read_directory(later.model).name == "other"
    modified = (later.model / "model.safetensors").stat().st_mtime_ns
    assert run(keep_adapter=True).adapter == later.adapter
    assert (later.model / "model.safetensors").stat().st_mtime_ns == modified, "nothing is written twice"


@pytest.mark.parametrize("lost", ["grade", "text"])
@pytest.mark.parametrize("kind", ["retriever", "reranker"])
def test_an_evaluation_that_could_show_nothing(kind: str, lost: str, tiny: Path, samples: Path, tmp_path: Path) -> None:
    dataset = toy_dataset()
    qrels = {query: dict.fromkeys(grades, 0) for query, grades in dataset.qrels.items()}
    corpus = {name: Document(name, " ") for name in dataset.corpus}
    changed = {"grade": {"qrels": qrels}, "text": {"corpus": corpus}}[lost]
    prepare = prepare_retriever if kind == "retriever" else prepare_reranker
    with pytest.raises(InputError, match="can show nothing"):
        prepare(samples, str(tiny), tmp_path / "run", evaluate_on=dataclasses.replace(dataset, **changed), device="cpu")


@pytest.mark.slow
def test_checkpoints_are_made_by_time(
    tiny: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checkpoints(name: str) -> int:
        train_retriever(samples, str(tiny), tmp_path / name, retriever_config(), device="cpu")
        return len(list((tmp_path / name / "checkpoints").glob("checkpoint-*/complete")))

    monkeypatch.setattr("rader_training.run.run._SAVE_SECONDS", 0.0)
    assert checkpoints("often") == 2, "the two newest are kept"
    monkeypatch.setattr("rader_training.run.run._SAVE_SECONDS", 1e9)
    assert checkpoints("never") == 0


def test_figures_go_to_a_service(tiny: Path, samples: Path, tmp_path: Path) -> None:
    run: Any = (samples, str(tiny), tmp_path / "run", retriever_config(max_steps=1))
    if not any(map(importlib.util.find_spec, ("tensorboard", "tensorboardX"))):
        with pytest.raises(MissingExtraError, match="pip install tensorboard"):
            train_retriever(*run, device="cpu", report_to="tensorboard")
        return
    train_retriever(*run, device="cpu", report_to="tensorboard")
    assert list(tmp_path.rglob("events.out.*"))


def test_curves_begin_at_nothing(tmp_path: Path) -> None:
    rows = [
        {"step": 0, "nDCG@10": 0.5},
        {"step": 1, "loss": 3.0},
        {"step": 4, "loss": 2.0},
        {"step": 4, "nDCG@10": 0.6},
    ]
    path = draw_curves(rows, tmp_path / "c.png", best_step=4)
    assert path is not None
    assert path.read_bytes().startswith(b"\x89PNG")
    assert draw_curves([], tmp_path / "none.png") is None
    assert draw_curves([{"step": 1, "loss": 0.0}], tmp_path / "flat.png") is not None
