"""Cross-encoders of BERT in plain torch; see :mod:`rader_plugins.encoding.bert`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rader_plugins.encoding.bert import BertStates, read_checkpoint
from rader_plugins.encoding.models import LoadOptions
from rader_plugins.errors import InputError
from rader_plugins.recipes.cross_encoder import check_classifier

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PlainClassifier", "read_classifier"]

_HEAD: dict[str, tuple[str | int, ...]] = {
    "pooler.dense.weight": ("w", "w"),
    "pooler.dense.bias": ("w",),
    "classifier.weight": (1, "w"),
    "classifier.bias": (1,),
}


class PlainClassifier(BertStates):
    """A BERT classifier of one label, called as that of transformers is; its last layer is computed in float32."""

    def __init__(self, config: dict[str, Any], *parts: Any) -> None:
        super().__init__(config, *parts)
        self.config = SimpleNamespace(max_position_embeddings=config["max_position_embeddings"])
        # Rounded as they are loaded, and exact from there on: see keep_head_exact.
        wide = self._torch.float32 if self.dtype in (self._torch.bfloat16, self._torch.float16) else self.dtype
        self._head = [self.weights[f"classifier.{part}"].to(wide) for part in ("weight", "bias")]

    def __call__(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Any:
        """Return an object with ``logits``, shape (n, 1).

        Args:
            input_ids: Shape (n, tokens), padded on the right.
            attention_mask: 1 for tokens, 0 for padding; None where nothing is padded.
            token_type_ids: 0 for the query, 1 for the document; None for 0 throughout.
        """
        linear = self._torch.nn.functional.linear
        first = self._states(input_ids, attention_mask, token_type_ids)[:, 0]
        read = linear(first, self.weights["pooler.dense.weight"], self.weights["pooler.dense.bias"]).tanh()
        return SimpleNamespace(logits=linear(read.to(self._head[0].dtype), *self._head))


def read_classifier(folder: Path, options: LoadOptions) -> PlainClassifier | None:
    """Read a classifier; None where it is not exactly what :class:`PlainClassifier` computes."""
    try:
        check_classifier(folder, str(folder))
    except InputError:  # which is told where the libraries are asked to load it
        return None
    parts = read_checkpoint(folder, options, _HEAD)
    if parts is None or parts[0].get("architectures") != ["BertForSequenceClassification"]:
        return None
    return PlainClassifier(*parts)
