"""`RaderMtebEncoder`: an encoder as mteb wants one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.errors import InputError, import_extra
from rader_plugins.evaluation.mteb.meta import model_meta
from rader_plugins.evaluation.mteb.tasks import Instruction, task_instruction
from rader_plugins.recipes import Recipe

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.model_meta import ModelMeta

__all__ = ["RaderMtebEncoder"]


class RaderMtebEncoder:
    """An encoder in mteb (its ``EncoderProtocol``): every task that mteb has for dense models.

    Queries and documents are encoded by the recipe, each in its role. Texts of tasks that do not tell queries from
    documents (similarity, clustering) are encoded as documents.

    Args:
        model_name: An encoder, or what :func:`rader_plugins.load_encoder` takes.
        revision: Not used, since the recipe pins one; mteb's protocol has it here.
        device: Where a model that is loaded goes.
        instruction: Instruction for the queries: one text, or task name -> text. By default tasks of BRIGHT get the
            instruction that RaDeR was evaluated with, if the recipe takes one, and others the recipe's own.
        name: What mteb calls it, ``organisation/name``.

    Raises:
        InputError: A revision is given, or the model is unknown.

    Example:
        >>> import mteb  # doctest: +SKIP
        >>> tasks = mteb.get_tasks(tasks=["BrightAopsRetrieval", "RARbMath"])  # doctest: +SKIP
        >>> mteb.evaluate(RaderMtebEncoder("rader-3b"), tasks)  # doctest: +SKIP
    """

    def __init__(
        self,
        model_name: Encoder | Recipe | str,
        revision: str | None = None,
        *,
        device: str | None = None,
        instruction: Instruction = None,
        name: str | None = None,
    ) -> None:
        if revision is not None:
            raise InputError("The recipe pins the revision: use dataclasses.replace(recipe, revision=...) for another.")
        if isinstance(model_name, Encoder):
            self.encoder = model_name
        else:
            from rader_plugins.encoding import load_encoder

            self.encoder = load_encoder(model_name, device=device)
        self.instruction = instruction
        settings = {"instruction": dict(instruction) if isinstance(instruction, Mapping) else instruction}
        self.mteb_model_meta: ModelMeta = model_meta(self.encoder, "dense", settings, name)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: str | None = None,
        **_: Any,
    ) -> Vectors:
        """Encode batches of texts.

        Args:
            inputs: Batches with a list of texts under ``text``.
            task_metadata: Metadata of the mteb task, which decides the instruction.
            hf_split: Which split of it.
            hf_subset: Which subset of it.
            prompt_type: ``query``, ``document`` or None.

        Returns:
            float32 array of shape (number of texts, dimension), rows of length 1.
        """
        texts: list[str] = []
        for batch in inputs:
            if "text" not in batch:
                raise InputError(f"Task {task_metadata.name} has inputs that are no text: RaDeR encodes text alone.")
            texts.extend(batch["text"])
        if prompt_type == "query":
            instruction = task_instruction(task_metadata, hf_subset, self.encoder.recipe, self.instruction)
            return self.encoder.encode_queries(texts, instruction=instruction)
        return self.encoder.encode_documents(texts)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosine of every pair, a tensor of shape (first, second)."""
        return import_extra("mteb.similarity_functions", "mteb").cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosine of corresponding rows, a tensor of shape (n,)."""
        return import_extra("mteb.similarity_functions", "mteb").pairwise_cos_sim(embeddings1, embeddings2)
