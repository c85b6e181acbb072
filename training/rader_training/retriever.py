"""`train_retriever`: samples become a retriever that drops back in."""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.encoding.load import load_encoder
from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.errors import InputError, import_extra
from rader_plugins.recipes import Recipe
from rader_training.config import RetrieverConfig
from rader_training.data import Groups, load_rows

if TYPE_CHECKING:
    from rader_plugins.evaluation import RetrievalDataset

__all__ = ["TrainingReport", "train_retriever"]

_BEST = "best.safetensors"


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    Args:
        model: Directory of the model.
        steps: Steps made, those of earlier sittings included.
        loss: Mean loss of the steps of this sitting; None if there were none.
        evaluations: Step -> nDCG@10 on the data set that was evaluated on; step 0 is the model before training.
        best_step: Whose weights the directory holds.
        data: What was trained on.
        truncated: Share of the queries and documents seen that were cut.
        curves: A picture of loss and evaluation, where matplotlib is installed.
    """

    model: Path
    steps: int
    loss: float | None
    evaluations: dict[int, float]
    best_step: int
    data: dict[str, Any]
    truncated: dict[str, float]
    curves: Path | None


def train_retriever(
    samples: str | os.PathLike[str],
    base: str | Recipe,
    out: str | os.PathLike[str],
    config: RetrieverConfig | None = None,
    *,
    evaluate_on: RetrievalDataset | None = None,
    device: str | None = None,
    resume: bool = False,
    name: str | None = None,
    trust_remote_code: bool = False,
) -> TrainingReport:
    """Train a retriever with InfoNCE over hard and in-batch negatives (RaDeR, section 3.4).

    The trainer is sentence-transformers'; templates, lengths and end-of-sequence tokens are those of the base's recipe,
    put on by the very code that inference uses. ``out/model`` is written at the end: a Sentence Transformers directory
    with a recipe of its own, adapters merged.

    Args:
        samples: A folder of ``rader samples``, one of its files, a Tevatron JSONL file, or a data set on the hub.
        base: What to start from: what :func:`rader_plugins.load_encoder` takes.
        out: Folder of the run: ``model``, ``checkpoints``, ``metrics.jsonl``, ``curves.png``, ``training.json``.
        config: The hyper-parameters.
        evaluate_on: Is searched (dense) before, during and after the training; the best weights are exported.
        device: As for ``load_encoder``.
        resume: Go on from the newest checkpoint of a run that was stopped, killed or not: to the same weights as
            without the stop, on hardware that computes deterministically.
        name: Of the new model; default: that of ``out``.
        trust_remote_code: Let the base's repository run its own code.

    Raises:
        InputError: Samples, base or folder are unusable.
        TrainingDivergedError: The loss became NaN; the last checkpoint is intact.
        MissingExtraError: The extra ``training`` is not installed.

    Example:
        >>> train_retriever("samples", "mini", "run-1", RetrieverConfig(epochs=2)).model  # doctest: +SKIP
        PosixPath('run-1/model')
    """
    import_extra("accelerate", "training")
    config = config or RetrieverConfig()
    folder = Path(out)
    encoder = _trainable(base, device, trust_remote_code)
    recipe = _with_lengths(encoder.recipe, config)
    groups = Groups(
        load_rows(samples, folder.with_name(f"{folder.name}.cache")),
        size=config.group_size,
        weights=config.kinds,
        seed=config.seed,
    )
    return _Training(folder, config, encoder, recipe, groups, evaluate_on, name or folder.resolve().name).run(resume)


def _trainable(base: str | Recipe, device: str | None, trust_remote_code: bool) -> LocalEncoder:
    encoder = load_encoder(
        base, device=device, dtype="float32", show_progress=False, trust_remote_code=trust_remote_code
    )
    if not isinstance(encoder, LocalEncoder) or type(encoder.model[0]).__name__ != "Transformer":
        raise InputError(f"{base!r} cannot be trained: it must be a transformer on this machine.")
    recipe = encoder.recipe
    if not recipe.pool_prompt and (recipe.query_prefix() or recipe.document_template != "{text}"):
        raise InputError(f"Recipe {recipe.name!r} leaves prompts out of its pooling, which training does not do yet.")
    if recipe.append_eos and encoder.tokenizer.eos_token_id is None and recipe.eos_token is None:
        raise InputError(f"The tokenizer of {recipe.model!r} has no end-of-sequence token. Name it in the recipe.")
    return encoder


def _with_lengths(recipe: Recipe, config: RetrieverConfig) -> Recipe:
    return dataclasses.replace(
        recipe,
        max_query_length=config.max_query_length or recipe.max_query_length,
        max_document_length=config.max_document_length or recipe.max_document_length,
    )


@dataclass
class _Training:
    folder: Path
    config: RetrieverConfig
    encoder: LocalEncoder
    recipe: Recipe
    groups: Groups
    dataset: RetrievalDataset | None
    name: str
    evaluations: dict[int, float] = field(default_factory=dict)

    def run(self, resume: bool) -> TrainingReport:
        from rader_training.adapters import add_lora, load_trained, merge_lora
        from rader_training.batches import Collator
        from rader_training.checkpoints import newest_checkpoint
        from rader_training.export import export
        from rader_training.record import Record

        model = self.encoder.model
        import_extra("transformers", "training").set_seed(self.config.seed)  # an adapter begins at random
        self.record = Record(self.folder, self._manifest(), resume=resume)
        if self.config.lora:
            model.requires_grad_(False)
            add_lora(model, self.config)
        else:
            model.requires_grad_(True)
        checkpoint = newest_checkpoint(self.folder / "checkpoints") if resume else None
        if checkpoint is not None:
            self.record.go_on_from(int(checkpoint.name.rpartition("-")[2]))
            self.evaluations = {row["step"]: row["nDCG@10"] for row in self.record.rows if "nDCG@10" in row}
        collator = Collator(model.tokenizer, self.recipe)
        if self.dataset is not None and 0 not in self.evaluations:
            self._evaluate(0)
        trainer = self._trainer(model, collator)
        result = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        steps = trainer.state.global_step
        if self.dataset is not None and steps not in self.evaluations:
            self._evaluate(steps)
        best = max((step for step in self.evaluations if step), key=lambda step: self.evaluations[step], default=steps)
        if best != steps:
            load_trained(model, self.folder / _BEST)
        if self.config.lora:
            merge_lora(model)
        model.requires_grad_(False)
        model.eval()
        truncated = {role: collator.truncated[role] / max(1, collator.seen[role]) for role in collator.seen}
        facts = {
            "Data": dataclasses.asdict(self.groups.report),
            "Hyper-parameters": self.config.as_dict(),
            "Evaluation (nDCG@10 by step)": self.evaluations,
            "Share of texts that were cut": truncated,
        }
        path = export(model, self.recipe, self.folder / "model", name=self.name, facts=facts)
        loss = float(result.training_loss) if result.training_loss == result.training_loss else None
        return TrainingReport(
            model=path,
            steps=steps,
            loss=loss,
            evaluations=dict(self.evaluations),
            best_step=best,
            data=dataclasses.asdict(self.groups.report),
            truncated=truncated,
            curves=self.record.draw(),
        )

    def _manifest(self) -> dict[str, Any]:
        return {
            "kind": "retriever",
            "base": self.encoder.recipe.name,
            "base_fingerprint": self.encoder.fingerprint,
            "config": self.config.as_dict(),
            "data": self.groups.report.digest,
            "evaluated_on": None if self.dataset is None else self.dataset.digest,
        }

    def _trainer(self, model: Any, collator: Any) -> Any:
        datasets = import_extra("datasets", "training")
        st = import_extra("sentence_transformers", "training")
        from rader_training.checkpoints import GroupEpochs, GroupTrainer, Watch, WholeCheckpoints
        from rader_training.loss import InfoNCE

        config = self.config
        places = datasets.Dataset.from_dict({"place": list(range(len(self.groups)))})
        places.set_transform(lambda batch: {"group": [self.groups[place] for place in batch["place"]]})
        on_cpu = model.device.type == "cpu"
        arguments = st.SentenceTransformerTrainingArguments(
            output_dir=str(self.folder / "checkpoints"),
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.accumulate,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup_steps,
            weight_decay=config.weight_decay,
            lr_scheduler_type="linear",
            num_train_epochs=config.epochs,
            max_steps=config.max_steps or -1,
            bf16=(not on_cpu and _has_bf16()) if config.bf16 is None else config.bf16,
            gradient_checkpointing=config.gradient_checkpointing,
            logging_steps=config.log_every,
            logging_nan_inf_filter=False,
            save_strategy="steps" if config.save_every else "no",
            save_steps=config.save_every or 500,
            save_total_limit=2,
            seed=config.seed,
            data_seed=config.seed,
            use_cpu=on_cpu,
            report_to="none",
            disable_tqdm=not (sys.stderr is not None and sys.stderr.isatty()),
            dataloader_pin_memory=not on_cpu,
            remove_unused_columns=False,
        )
        trainer = GroupTrainer(
            model=model,
            args=arguments,
            train_dataset=places,
            loss=InfoNCE(model, temperature=config.temperature, mini_batch_size=config.mini_batch),
            data_collator=collator,
            callbacks=[
                GroupEpochs(self.groups),
                WholeCheckpoints(),
                Watch(self.record.add, config.evaluate_every if self.dataset is not None else 0, self._evaluate),
            ],
        )
        # It prints what it logs; the record has it.
        trainer.remove_callback(import_extra("transformers", "training").PrinterCallback)
        return trainer

    def _evaluate(self, step: int) -> bool:
        """Search the data set with the weights as they are; returns whether patience has run out."""
        from rader_plugins import RaderIndex, RaderRetriever
        from rader_plugins.evaluation import evaluate, index_corpus
        from rader_training.adapters import save_trained

        if self.dataset is None:
            return False
        model = self.encoder.model
        training = model.training
        model.eval()
        encoder = LocalEncoder(self.recipe, model=model, show_progress=False)
        with RaderIndex.create(None, encoder=encoder) as index:
            index_corpus(self.dataset, index)
            found = evaluate(
                RaderRetriever(index, mode="dense"), self.dataset, k_values=[10], measures=["nDCG"], batch_size=64
            )
        model.train(training)
        value = float(found.mean["nDCG@10"])
        earlier = [self.evaluations[at] for at in self.evaluations if at]
        self.evaluations[step] = value
        self.record.add(step, {"nDCG@10": value})
        if step and value > max(earlier, default=-1.0):
            save_trained(model, self.folder / _BEST)
        best = max((at for at in self.evaluations if at), key=lambda at: self.evaluations[at], default=0)
        since = sum(at > best for at in self.evaluations)
        return bool(step and self.config.patience and since >= self.config.patience)


def _has_bf16() -> bool:
    torch = import_extra("torch", "training")
    return bool(torch.cuda.is_available() and torch.cuda.is_bf16_supported())
