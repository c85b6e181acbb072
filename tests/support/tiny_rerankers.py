"""Tiny random classifiers of one label, adapters and cross-encoders, and a reranker without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rader_plugins.documents import Hit
from rader_plugins.reranking import Reranker
from rader_plugins.reranking.base import reordered


class LengthReranker(Reranker):
    """Scores a document by the length of its text, the shortest first; remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], list[int]]] = []

    def rerank_batch(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        self.calls.append((list(queries), [len(ranking) for ranking in hits]))
        results = []
        for ranking in hits:
            scores = [-float(len(hit.document.text)) for hit in ranking]
            results.append(reordered(ranking, scores, [{"rerank": score} for score in scores]))
        return results


def tiny_qwen2_classifier(path: str | Path, *, labels: int = 1, seed: int = 0, **config: Any) -> Path:
    """Write a random Qwen2ForSequenceClassification with tokenizer; ``config`` changes its configuration."""
    import torch
    from transformers import Qwen2ForSequenceClassification

    from tests.support.tiny_models import SEED, bpe_tokenizer, qwen2_config

    folder = Path(path)
    settings = qwen2_config()
    settings.num_labels = labels
    for name, value in config.items():
        setattr(settings, name, value)
    state = torch.get_rng_state()
    torch.manual_seed(seed + SEED)
    Qwen2ForSequenceClassification(settings).save_pretrained(folder)
    torch.set_rng_state(state)
    bpe_tokenizer().save_pretrained(folder)
    return folder


def tiny_classifier_lora(path: str | Path, base: str | Path, *, labels: int = 1, seed: int = 1) -> Path:
    """Write a random LoRA adapter with its score head, made by peft from a language model's checkpoint."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    from tests.support.tiny_models import SEED

    state = torch.get_rng_state()
    torch.manual_seed(seed + SEED)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
    config = LoraConfig(
        r=4, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False,
        task_type="SEQ_CLS",
    )  # fmt: skip
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "score.modules_to_save" in name:
                weight.normal_(std=0.5)
    adapted.save_pretrained(path)
    torch.set_rng_state(state)
    return Path(path)


def tiny_cross_encoder(path: str | Path, *, labels: int = 1, seed: int = 0) -> Path:
    """Write a random Bert classifier, as cross-encoders are published: without any modules."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from tests.support.tiny_models import SEED, tiny_bert

    folder = tiny_bert(path, seed=seed)
    config = BertConfig.from_pretrained(folder)
    config.num_labels = labels
    state = torch.get_rng_state()
    torch.manual_seed(seed + SEED)
    BertForSequenceClassification(config).save_pretrained(folder)
    torch.set_rng_state(state)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder
