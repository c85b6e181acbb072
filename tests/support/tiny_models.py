"""Tiny random checkpoints with real tokenizers, for tests that compare numbers."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, Qwen2Model

# What a test asserts must not hang on one draw of random numbers: try others with RADER_TEST_SEED=1, 2, ...
SEED = int(os.environ.get("RADER_TEST_SEED", "0"))

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
)
_TRAINING_TEXT = [
    "Among any six people there are three mutual friends or three mutual strangers.",
    "query: Instruct: Given a Math problem, retrieve relevant theorems that help answer the problem",
    "document: the pigeonhole principle, Ramsey's theorem and the harmonic mean of two numbers 0123456789",
]


@lru_cache(maxsize=1)
def _bpe() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TRAINING_TEXT, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer.to_str()


def bpe_tokenizer(
    *, chat_template: bool = True, adds_eos: bool = False, adds_bos: bool = False
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer like Qwen2's: end of sequence ``<|im_end|>``, padding ``<|endoftext|>``."""
    backend = Tokenizer.from_str(_bpe())
    if adds_eos or adds_bos:
        single = ("<|im_start|> " if adds_bos else "") + "$A" + (" <|im_end|>" if adds_eos else "")
        template = processors.TemplateProcessing(
            single=single, special_tokens=[(name, backend.token_to_id(name)) for name in SPECIAL]
        )
        backend.post_processor = processors.Sequence([backend.post_processor, template])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=4096
    )
    if chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def qwen2_config(hidden: int = 32) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=400,
        hidden_size=hidden,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        # Large initial weights, so that vectors of different texts differ.
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=None,
    )


def tiny_qwen2(
    path: str | Path,
    *,
    chat_template: bool = True,
    adds_eos: bool = False,
    adds_bos: bool = False,
    causal_lm: bool = False,
    seed: int = 0,
) -> Path:
    """Write a random Qwen2 checkpoint with tokenizer to ``path`` and return it.

    Args:
        path: Directory to create.
        chat_template: The tokenizer carries one (as the published checkpoints do).
        adds_eos: The tokenizer appends ``<|im_end|>`` itself.
        adds_bos: The tokenizer starts every text with ``<|im_start|>``.
        causal_lm: Save with language-model head (tensor names start with ``model.``).
        seed: Of the random weights.
    """
    folder = Path(path)
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed + SEED)
    model = (Qwen2ForCausalLM if causal_lm else Qwen2Model)(qwen2_config())
    torch.set_rng_state(generator_state)
    model.save_pretrained(folder)
    bpe_tokenizer(chat_template=chat_template, adds_eos=adds_eos, adds_bos=adds_bos).save_pretrained(folder)
    return folder


def tiny_lora(path: str | Path, base: str | Path, *, causal_lm: bool, seed: int = 1) -> Path:
    """Write a LoRA adapter (r 4, random, not zero) of a :func:`tiny_qwen2` checkpoint, by peft itself."""
    from peft import LoraConfig, get_peft_model

    generator_state = torch.get_rng_state()
    torch.manual_seed(seed + SEED)
    model = (Qwen2ForCausalLM if causal_lm else Qwen2Model).from_pretrained(base)
    config = LoraConfig(
        r=4, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False,
        task_type="CAUSAL_LM" if causal_lm else "FEATURE_EXTRACTION",
    )  # fmt: skip
    get_peft_model(model, config).save_pretrained(path)
    torch.set_rng_state(generator_state)
    return Path(path)


def tiny_bert(path: str | Path, *, seed: int = 0) -> Path:
    """Write a random Bert checkpoint with a ``[CLS] text [SEP]`` WordPiece tokenizer and return its directory."""
    from transformers import BertTokenizerFast

    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(97, 123)] + [str(digit) for digit in range(10)] + list(":.,?'")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed + SEED)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=128, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    torch.set_rng_state(generator_state)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
