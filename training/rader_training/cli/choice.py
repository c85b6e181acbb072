"""What `rader train retriever` and `rader train reranker` share: options, and how a run is made and told of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rader_plugins.cli.interruption import Interrupted
from rader_plugins.cli.options import Device, JsonOutput, TrustRemoteCode, complete_model
from rader_plugins.cli.output import emit_json, facts, fail
from rader_plugins.errors import InputError

__all__ = ["Samples", "TrainingChoice"]

_WORSE = 3

Samples = Annotated[
    list[str],
    typer.Argument(
        metavar="SAMPLES...",
        help="Folders of `rader samples`, files of them, JSONL of Tevatron, FlagEmbedding or sentence-transformers, "
        "or hub ids.",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="W,W", help="How often each of several SAMPLES is seen in an epoch: 1,0.5."),
]
Base = Annotated[
    str,
    typer.Option(
        "--base", metavar="MODEL", autocompletion=complete_model, help="Name, directory or hub id to start from."
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="Registered name of the recipe by which --base reads texts, where it does not say so itself.",
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run; DIR/model is the result.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="F.toml",
        help="Hyper-parameters, under [retriever] or [reranker]; others are fitted to model and samples.",
    ),
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Print what would be done, and end.")]
EvaluateOn = Annotated[
    Path | None,
    typer.Option(
        "--evaluate-on",
        metavar="FOLDER",
        help="BEIR folder (or samples) to choose the best weights by; default: the samples' validation split, or a "
        "tenth of their problems.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option("--split", metavar="S", help="Split of --evaluate-on; default: dev or validation, else test."),
]
NoHoldout = Annotated[
    bool, typer.Option("--no-holdout", help="Train on all samples; the result is compared with nothing.")
]
ExportAnyway = Annotated[
    bool, typer.Option("--export-anyway", help="Write the model also where it is worse than the base.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")]
Name = Annotated[str | None, typer.Option("--name", metavar="N", help="Of the new model; default: DIR's.")]
KeepAdapter = Annotated[
    bool, typer.Option("--keep-adapter", help="Write the LoRA adapter alone as well, into DIR/adapter.")
]
CheckAgainst = Annotated[
    list[str] | None,
    typer.Option(
        "--check-against",
        metavar="SET",
        help="Refuse samples with queries of an evaluation set: BEIR folder[:split], .jsonl, 'bundled', "
        "bright:SPLIT or hub:NAME; repeatable. --evaluate-on is one by itself.",
    ),
]
AllowOverlap = Annotated[bool, typer.Option("--allow-overlap", help="Train on them nevertheless; the card says so.")]
ReportTo = Annotated[
    str | None, typer.Option("--report-to", metavar="S", help="Send figures to tensorboard, wandb or trackio.")
]
PushToHub = Annotated[
    str | None, typer.Option("--push-to-hub", metavar="YOU/NAME", help="Upload the model, into a private repository.")
]


@dataclass(frozen=True, kw_only=True)
class TrainingChoice:
    """What both commands take beside samples."""

    base: Base
    out: Out
    recipe: RecipeName = None
    config: Config = None
    weights: Weights = None
    plan: PlanOnly = False
    evaluate_on: EvaluateOn = None
    split: Split = None
    no_holdout: NoHoldout = False
    export_anyway: ExportAnyway = False
    check_against: CheckAgainst = None
    allow_overlap: AllowOverlap = False
    resume: Resume = False
    name: Name = None
    keep_adapter: KeepAdapter = False
    report_to: ReportTo = None
    push_to_hub: PushToHub = None
    device: Device = None
    trust_remote_code: TrustRemoteCode = False
    json: JsonOutput = False

    def train(self, samples: list[str], prepare: Any, config: Any, *, pooling: str | None = None, **more: Any) -> None:
        """Prepare a run, show its plan, make it and tell what came of it.

        Args:
            samples: The sample sets to train on.
            prepare: :func:`rader_training.prepare_retriever` or its like.
            config: Class of the hyper-parameters.
            pooling: Pooling of a plain checkpoint.
            **more: What the one command takes alone.
        """
        with _interruptible(self.out):
            run = prepare(
                samples,
                _base(self.base, self.recipe, pooling),
                self.out,
                config() if self.config is None else config.from_toml(self.config),
                resume=self.resume,
                set_weights=_numbers(self.weights),
                evaluate_on=_dataset(self.evaluate_on, self.split, samples, self.no_holdout),
                holdout=not self.no_holdout,
                check_against=self.check_against or [],
                allow_overlap=self.allow_overlap,
                device=self.device,
                name=self.name,
                keep_adapter=self.keep_adapter,
                export_anyway=self.export_anyway,
                report_to=self.report_to,
                push_to_hub=self.push_to_hub,
                trust_remote_code=self.trust_remote_code,
                **more,
            )
            _run(run, resume=self.resume, plan_only=self.plan, json=self.json)


@contextlib.contextmanager
def _interruptible(folder: Path) -> Iterator[None]:
    """Say how to go on where Ctrl-C ends the block."""
    try:
        yield
    except KeyboardInterrupt:
        from rader_training.run.trainers import checkpoint_step, newest_checkpoint

        checkpoint = newest_checkpoint(folder / "checkpoints")
        step = 0 if checkpoint is None else checkpoint_step(checkpoint)
        where = f"from step {step:,}" if step else "from the beginning: there is no checkpoint yet"
        raise Interrupted(f"the same command with --resume goes on in {folder}, {where}.") from None


def _run(run: Any, *, resume: bool, plan_only: bool, json: bool) -> None:
    from rader_training.run.processes import is_main, leave
    from rader_training.run.report import WorseThanBaseError

    if plan_only:
        if json:
            emit_json({**asdict(run.plan), "config": run.config.as_dict()})
        else:
            _show(facts(run.plan.lines()), error=False)
        return
    if is_main():
        _show([*facts(run.plan.lines()), ""], error=json)
    try:
        report, failure = run.run(resume), ""
    except WorseThanBaseError as error:
        report, failure = error.report, str(error)
    leave()
    if not is_main():
        return
    _tell(report, json)
    if failure:
        fail(failure)
        raise typer.Exit(_WORSE)


def _show(lines: list[str], *, error: bool) -> None:
    for line in lines:
        typer.echo(line, err=error)


def _numbers(text: str | None) -> list[float]:
    if text is None:
        return []
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--weights takes numbers such as 1,0.5, not {text!r}.") from None


def _base(base: str, recipe: str | None, pooling: str | None = None) -> Any:
    name = Path(base).name if Path(base).is_dir() else base
    if pooling is not None:
        from rader_plugins.recipes import Recipe

        if recipe is not None:
            raise InputError("--recipe states the pooling as well: leave one of --recipe and --pooling out.")
        if pooling not in ("mean", "cls", "lasttoken"):
            raise InputError(f"--pooling is mean, cls or lasttoken, not {pooling!r}.")
        return Recipe(name=name, model=base, pooling=pooling)  # type: ignore[arg-type]
    if recipe is None:
        return base
    from rader_plugins.recipes.resolve import restated

    # What is trained may be of another size, and is no adapter of what the recipe names.
    return replace(restated(base, recipe), name=name, dimension=None, base_model=None)


def _dataset(folder: Path | None, split: str | None, samples: list[str], no_holdout: bool) -> Any:
    if folder is None:
        if split is not None:
            raise InputError("--split is that of --evaluate-on, which is missing.")
        return None
    from rader_plugins.evaluation import RetrievalDataset
    from rader_training.data.development import VALIDATION, development_split

    split_name = development_split(folder, split)
    if any(Path(path).exists() and Path(path).resolve() == folder.resolve() for path in samples):
        if split_name != VALIDATION:
            raise InputError(
                f"{folder} is trained on: of the samples themselves the split {VALIDATION!r} alone is kept."
            )
        if no_holdout:
            raise InputError("--no-holdout compares with nothing, and --evaluate-on names the samples: leave one out.")
        if len(samples) > 1:
            raise InputError(
                "Of several sample sets the validation splits of all are evaluated on: leave --evaluate-on out."
            )
        return None  # what is taken where nothing is named
    return RetrievalDataset.from_folder(folder, split=split_name)


def _tell(report: Any, json: bool) -> None:
    if json:
        paths = {name: str(path) for name in ("model", "curves", "adapter") if (path := getattr(report, name))}
        verdict = {**asdict(report.verdict), "sentence": report.verdict.sentence}
        emit_json({**asdict(report), **paths, "verdict": verdict})
        return
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.data["kinds"].items())
    lines = [("samples", f"{report.data['samples']:,} ({kinds})"), ("steps", f"{report.steps:,}")]
    if report.resumed == "finished":
        lines.append(("resumed", "the training had ended before: nothing was trained"))
    if report.loss is not None:
        lines.append(("loss", f"{report.loss:.4f} on average"))
    if report.evaluated_on:
        lines.append(("evaluated on", report.evaluated_on))
    lines += [
        (f"nDCG@10 at step {step}", f"{100 * value:.2f}" + ("" if step else " (the base)"))
        for step, value in report.evaluations.items()
    ]
    lines += [(f"{role} texts cut", f"{share:.1%}") for role, share in report.truncated.items() if share]
    if report.overlap is not None:
        from rader_training.data.overlap import describe

        lines.append(("overlap", describe(report.overlap)))
    if report.verdict.moved is not None:
        lines.append(("moved", f"{report.verdict.moved:.2g} from the base, on average over some texts"))
    if report.exported:
        lines.append(("model", f"{report.model} (weights of step {report.best_step})"))
    if report.adapter:
        lines.append(("adapter", str(report.adapter)))
    lines.append(("verdict", report.verdict.sentence))
    _show(facts(lines), error=False)
