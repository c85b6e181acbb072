"""A training run from its base to the exported model: what retrievers and rerankers share."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rader_plugins.errors import import_extra
from rader_plugins.recipes.resolve import read_directory
from rader_training.data.overlap import evaluation_sets
from rader_training.loss.divergence import TrainingDivergedError, check_weights
from rader_training.models.publishing import publish
from rader_training.run.arguments import trainer_arguments
from rader_training.run.curves import draw_curves
from rader_training.run.kind import ModelKind
from rader_training.run.precision import uses_bf16
from rader_training.run.processes import from_main, is_main, process_count
from rader_training.run.record import End, Record
from rader_training.run.report import TrainingReport, WorseThanBaseError
from rader_training.run.verdict import Verdict, distance, judge, not_compared

__all__ = ["TrainingRun"]

_BEST = "best.safetensors"
_REMEDY = "Lower the learning rate, or raise the temperature of a retriever, in a new folder."
_SAVE_SECONDS = 120.0
_PROBES = 32


class TrainingRun(ModelKind):
    """One training in one folder, from its base to the exported model."""

    def run(self, resume: bool = False) -> TrainingReport:
        """Train, or go on, and write the model.

        Raises:
            WorseThanBaseError: What was trained is worse than the base; nothing was exported.
            TrainingDivergedError: The loss became NaN.
        """
        with self._showing("preparing"):
            # Processes that were started together meet here.
            values = trainer_arguments(self.config, self.plan.steps, self.folder, self._device, self.options.report_to)
            arguments = self._training_arguments(values)
            overlap = from_main(self._check_overlap)
        self.record = Record(self.folder, self._settings(), writes=is_main())
        with contextlib.ExitStack() as stack:
            from_main(lambda: self._open(stack, resume))
            earlier = from_main(lambda: self.record.end) if resume else None
            if earlier is not None and earlier.get("exported") and self._is_delivered():
                return self._earlier_report(earlier, overlap)
            with self._showing("preparing"):
                self._choose_weights()
                before = from_main(self._probes)
            if earlier is None:
                end = self._train(arguments, resume)
            else:
                end = self._take_up(earlier)
            if self.config.base_in_4bit:
                before = self._put_on_whole_base(end.best_step)
            report = from_main(lambda: self._finish(end, before, overlap, earlier))
        if end.diverged:
            raise TrainingDivergedError(f"{end.diverged} {report.model} holds the weights of step {report.best_step}.")
        return report

    @functools.cached_property
    def _line(self) -> Any:
        from rader_training.run.progress import ProgressLine

        return ProgressLine()

    def _showing(self, text: str) -> contextlib.AbstractContextManager[None]:
        """Show on a terminal what is done while a block runs."""
        line: contextlib.AbstractContextManager[None] = (
            self._line.doing(text) if is_main() else contextlib.nullcontext()
        )
        return line

    def _open(self, stack: contextlib.ExitStack, resume: bool) -> None:
        stack.enter_context(self.record.opened(resume=resume))

    # Training

    def _train(self, arguments: Any, resume: bool) -> End:
        """Train until the last step, from the newest checkpoint if there is one; leaves the model the best weights."""
        from rader_training.models.adapters import load_trained
        from rader_training.run.trainers import WEIGHTS, checkpoint_step, newest_checkpoint

        checkpoint = newest_checkpoint(self.folder / "checkpoints") if resume else None
        steps = 0 if checkpoint is None else checkpoint_step(checkpoint)
        if checkpoint is not None:
            self.record.go_on_from(steps)
        collator = self._collator()
        if self.development is not None and 0 not in self.record.evaluations:
            self._evaluate(0)
        trainer = self._trainer(arguments, collator)
        loss, diverged = None, ""
        if checkpoint is not None and (steps >= self.plan.steps or self._out_of_patience):
            load_trained(self.model, checkpoint / WEIGHTS)  # stopped between its last step and its end
        else:
            try:
                result = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
                steps = trainer.state.global_step
                loss = float(result.training_loss) if math.isfinite(result.training_loss) else None
            except TrainingDivergedError as error:
                diverged = f"Step {trainer.state.global_step + 1}: {error} {_REMEDY}"
                steps = self._back_to_good(trainer, error)
        if self.development is not None and steps not in self.record.evaluations:
            self._evaluate(steps)
        self._gather(trainer)
        best = from_main(lambda: self._keep_best(steps))
        truncated = {role: collator.truncated[role] / max(1, collator.seen[role]) for role in collator.seen}
        end = End(steps, loss, best, truncated, diverged)
        self.record.finish({"exported": False, **dataclasses.asdict(end)})
        return end

    def _keep_best(self, steps: int) -> int:
        """Give the model the best weights, keep them in a file, and return their step."""
        from rader_training.models.adapters import load_trained, save_trained

        best = self.record.best_step(default=steps)
        if best == steps:
            save_trained(self.model, self.folder / _BEST)
        else:
            load_trained(self.model, self.folder / _BEST)
        return best

    def _take_up(self, earlier: Mapping[str, Any]) -> End:
        """Give the model the best weights of a training that has ended."""
        from rader_training.models.adapters import load_trained

        self.record.go_on_from(earlier["steps"])
        load_trained(self.model, self.folder / _BEST)
        return End.read(earlier)

    def _back_to_good(self, trainer: Any, error: TrainingDivergedError) -> int:
        """Load the last weights that gave a loss, and return their step.

        Raises:
            TrainingDivergedError: None were kept, or they are cut apart over processes.
        """
        from rader_training.models.adapters import load_trained
        from rader_training.run.trainers import WEIGHTS, checkpoint_step, newest_checkpoint, unmark

        step = trainer.state.global_step
        unmark(self.folder / "checkpoints", step)  # its weights are what diverged
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise TrainingDivergedError(
                f"Step {step + 1}: {error} {_REMEDY} Earlier checkpoints are intact."
            ) from error
        if (checkpoint := newest_checkpoint(self.folder / "checkpoints")) is not None:
            load_trained(self.model, checkpoint / WEIGHTS)
            return checkpoint_step(checkpoint)
        if (best := self.record.best_step(default=0)) == 0:
            raise TrainingDivergedError(
                f"Step {step + 1}: {error} {_REMEDY} No weights were kept: set save_every to have some."
            ) from error
        load_trained(self.model, self.folder / _BEST)
        return best

    def _put_on_whole_base(self, best: int) -> NDArray[np.float32]:
        """Put the best adapter on the base as it is, measure both, and return the base's probes.

        This is what the exported model holds; on the way the base was the one in 4 bits.
        """
        from rader_training.models.adapters import load_trained

        self._forget_model()  # the two would not fit beside each other
        gc.collect()
        self._load_base_anew()
        self._choose_weights(in_4bit=False)
        before: NDArray[np.float32] = from_main(self._probes)
        self._measure_again(0)
        load_trained(self.model, self.folder / _BEST)
        self._measure_again(best)
        return before

    def _measure_again(self, step: int) -> None:
        if self.development is not None and step in self.record.evaluations:
            dataset = self.development.dataset
            self.record.add_evaluation(step, from_main(lambda: self._in_evaluation(lambda: self._measure(dataset))))

    def _choose_weights(self, *, in_4bit: bool | None = None) -> None:
        """Make what is trained require gradients, and nothing else."""
        from rader_training.models.adapters import set_dropout

        import_extra("transformers", "training").set_seed(self.config.seed)  # an adapter begins at random
        self.model.requires_grad_(not self.config.lora)
        if self.config.dropout is not None:
            set_dropout(self.model, self.config.dropout)
        if self.config.base_in_4bit if in_4bit is None else in_4bit:
            self._put_base_in_four_bit()
        if self.config.lora:
            self._add_adapter()
        for weights in self.model.parameters():
            if weights.requires_grad:  # small steps are lost in bfloat16
                weights.data = weights.data.float()

    def _trainer(self, arguments: Any, collator: Any) -> Any:
        from rader_training.run.trainers import GroupEpochs, Watch, WholeCheckpoints

        by_time = self.config.save_every is None and process_count() == 1
        evaluate_every = self.config.evaluate_every if self.development is not None else 0
        trainer = self._make_trainer(
            arguments,
            train_dataset=self.groups,
            data_collator=collator,
            callbacks=[
                GroupEpochs(self.groups),
                WholeCheckpoints(),
                Watch(self.record.add, evaluate_every, self._evaluate, _SAVE_SECONDS if by_time else None),
                *([self._line] if is_main() else []),
            ],
        )
        # It prints what it logs; the record has it.
        trainer.remove_callback(import_extra("transformers", "training").PrinterCallback)
        return trainer

    # Evaluation

    def _evaluate(self, step: int) -> bool:
        """Measure the weights as they are and keep them if they are the best; returns whether patience has run out."""
        from rader_training.models.adapters import save_trained

        if self.development is None:
            return False
        check_weights(self.model)
        dataset = self.development.dataset
        with self._showing(f"evaluating step {step:,}" if step else "evaluating the base"):
            values = from_main(lambda: self._in_evaluation(lambda: self._measure(dataset)))
        self.record.add_evaluation(step, values)
        if step and self.record.best_step(default=0) == step and is_main():
            save_trained(self.model, self.folder / _BEST)
        return self._out_of_patience

    @property
    def _out_of_patience(self) -> bool:
        best = self.record.best_step(default=0)
        since = sum(step > best for step in self.record.evaluations)
        return bool(self.config.patience and best and since >= self.config.patience)

    def _in_evaluation(self, measure: Any) -> Any:
        training = self.model.training
        self.model.eval()
        with self._exported_weights():
            value = measure()
        self.model.train(training)
        return value

    def _probes(self) -> NDArray[np.float32]:
        probes: NDArray[np.float32] = self._in_evaluation(lambda: self._probe(_PROBES))
        return probes

    def _judge(self, best: int, before: NDArray[np.float32]) -> Verdict:
        after = self._probes()
        moved = distance(before, after)
        if self.development is None or best not in self.record.evaluations:
            return not_compared(moved)
        reference, values = self._reference()
        return judge(
            reference,
            values,
            self.record.evaluations[best],
            problems=self.development.problems,
            moved=moved,
        )

    # The end

    def _is_delivered(self) -> bool:
        """Whether all that is asked for lies there: also what an earlier sitting was not asked for."""
        model = self.folder / "model"
        if not model.is_dir() or self.options.push_to_hub is not None:
            return False
        if self.adapter_of is not None and not (self.folder / "adapter").is_dir():
            return False
        return self.options.name in (None, read_directory(model, self.recipe.kind).name)

    def _finish(
        self,
        end: End,
        before: NDArray[np.float32],
        overlap: dict[str, Any] | None,
        earlier: Mapping[str, Any] | None,
    ) -> TrainingReport:
        """Judge the best weights and write the model, unless it is of no use."""
        verdict = self._judge(end.best_step, before)
        exported = verdict.usable or self.options.export_anyway or bool(earlier and earlier.get("exported"))
        report = self._report(end, verdict, overlap, "" if earlier is None else "finished", exported=exported)
        if not report.exported:
            message = f"{verdict.sentence} Nothing was exported; --export-anyway (export_anyway=True) does it."
            raise WorseThanBaseError(f"{end.diverged} {message}".strip(), report)
        self._deliver(report)
        self.record.finish({**dataclasses.asdict(end), "exported": True, "verdict": dataclasses.asdict(verdict)})
        return report

    def _deliver(self, report: TrainingReport) -> None:
        from rader_training.models.export import trained_recipe

        name = self.options.name or self.folder.resolve().name
        facts = {
            "Verdict": report.verdict.sentence,
            "Data": report.data,
            "Hyper-parameters": self.config.as_dict(),
            f"Evaluation (nDCG@10 x 100 by step{', ' + report.evaluated_on if report.evaluated_on else ''})": {
                step: round(100 * value, 2) for step, value in report.evaluations.items()
            },
            "Share of texts that were cut": report.truncated,
            "Overlap with evaluation sets": report.overlap or "not looked for",
            **self._facts(),
        }
        recipe = trained_recipe(self.recipe, name)
        if self.adapter_of is not None:
            self._export_adapter(self.folder / "adapter", recipe, self.adapter_of)
        with self._exported_weights():
            if self.config.lora:
                self._merge_adapter()
            self.model.eval()
            self._export(self.folder / "model", recipe, facts)
        self.model.requires_grad_(False)
        if self.options.push_to_hub is not None:
            publish(self.folder / "model", self.options.push_to_hub)

    def _report(
        self, end: End, verdict: Verdict, overlap: dict[str, Any] | None, resumed: str, *, exported: bool
    ) -> TrainingReport:
        keeps_adapter = self.adapter_of is not None and exported
        return TrainingReport(
            model=self.folder / "model",
            adapter=self.folder / "adapter" if keeps_adapter else None,
            steps=end.steps,
            loss=end.loss,
            evaluations=self.record.means,
            best_step=end.best_step,
            data=dataclasses.asdict(self.groups.report),
            truncated=end.truncated,
            overlap=overlap,
            curves=draw_curves(self.record.rows, self.folder / "curves.png", best_step=end.best_step),
            verdict=verdict,
            evaluated_on="" if self.development is None else self.development.origin,
            exported=exported,
            resumed=resumed,
        )

    def _earlier_report(self, earlier: Mapping[str, Any], overlap: dict[str, Any] | None) -> TrainingReport:
        """Return the report of a run that has ended and whose model is there."""
        self.record.go_on_from(earlier["steps"])
        return self._report(End.read(earlier), Verdict(**earlier["verdict"]), overlap, "finished", exported=True)

    def _check_overlap(self) -> dict[str, Any] | None:
        from rader_plugins.evaluation.overlap import EvaluationSet
        from rader_training.data.overlap import check_overlap

        own = [] if self.options.evaluate_on is None else [EvaluationSet.of(self.options.evaluate_on)]
        sets = [*evaluation_sets(self.options.check_against), *own]
        return check_overlap(self.groups, sets, self.folder, allow=self.options.allow_overlap)

    @property
    def _device(self) -> str:
        return str(next(self.model.parameters()).device.type)

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        """Compute as the trainer does."""
        torch = import_extra("torch", "training")
        device = self._device
        context: contextlib.AbstractContextManager[None] = torch.autocast(
            device, dtype=torch.bfloat16, enabled=uses_bf16(self.config, device)
        )
        return context

    def _settings(self) -> dict[str, Any]:
        """Return what decides the result."""
        named = self.options.evaluate_on
        held_out = None if named is not None or self.development is None else self.development.dataset.digest
        return {
            "kind": self.kind,
            **self.base,
            "config": self.config.as_dict(),
            "data": self.groups.report.digest,
            "evaluated_on": None if named is None else named.digest,
            "held_out": held_out,
            **({"processes": count} if (count := process_count()) > 1 else {}),
        }
