"""What retriever and reranker training take alike, beside samples, base, folder and hyper-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from rader_plugins.errors import InputError
from rader_training.config import MOST_SEEN

if TYPE_CHECKING:
    from rader_plugins.evaluation import RetrievalDataset
    from rader_plugins.evaluation.overlap import EvaluationSet

__all__ = ["RunOptions", "TrainingOptions"]


class TrainingOptions(TypedDict, total=False):
    """The keyword arguments of :class:`RunOptions`."""

    set_weights: Sequence[float]
    evaluate_on: RetrievalDataset | None
    holdout: bool
    check_against: Sequence[str | EvaluationSet]
    allow_overlap: bool
    device: str | None
    name: str | None
    keep_adapter: bool
    export_anyway: bool
    report_to: str | None
    push_to_hub: str | None
    trust_remote_code: bool


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is fed, judged and delivered; nothing here is a hyper-parameter.

    Args:
        set_weights: How often the samples of each set are seen in an epoch, in the order of the sets.
        evaluate_on: Is searched before, during and after the training; the best weights are exported, if they are not
            worse than the base.
        holdout: Where nothing is named to evaluate on, take the validation split of the samples, or else leave a tenth
            of their problems out of the training. False trains on all and compares with nothing.
        check_against: Evaluation sets that no sample may hold a query of: what
            :func:`rader_plugins.evaluation.overlap.load_evaluation_set` takes. ``evaluate_on`` is one by itself.
        allow_overlap: Train nevertheless. What was found is in ``overlap.json``, the report and the card.
        device: Device to train on, as for ``load_encoder``.
        name: Name of the new model; default: that of the folder.
        keep_adapter: Write the adapter alone as well, into ``adapter``.
        export_anyway: Write the model also where it is worse than what it was trained from.
        report_to: Also send the figures to ``tensorboard``, ``wandb`` or ``trackio``, through the trainer.
        push_to_hub: Repository (``you/name``) that the model is uploaded to at the end; made private if it is new.
        trust_remote_code: Let the base's repository run its own code.
    """

    set_weights: Sequence[float] = ()
    evaluate_on: RetrievalDataset | None = None
    holdout: bool = True
    check_against: Sequence[str | EvaluationSet] = ()
    allow_overlap: bool = False
    device: str | None = None
    name: str | None = None
    keep_adapter: bool = False
    export_anyway: bool = False
    report_to: str | None = None
    push_to_hub: str | None = None
    trust_remote_code: bool = False

    def check_sets(self, count: int) -> None:
        """Check the weights of so many sample sets.

        Raises:
            InputError: Their number differs, or one is negative.
        """
        if self.set_weights and len(self.set_weights) != count:
            raise InputError(
                f"There are {count} sample sets and {len(self.set_weights)} weights of sets; name one for each."
            )
        if any(not 0 <= weight <= MOST_SEEN for weight in self.set_weights):
            raise InputError(
                f"The weights of sample sets are numbers from 0 to {MOST_SEEN:,}, not {list(self.set_weights)}."
            )
