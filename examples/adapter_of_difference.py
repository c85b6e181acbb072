"""What a training of all weights changed, as a LoRA adapter: most of a model of 90 MB in 2.7 MB.

    python examples/adapter_of_difference.py mini trained/model adapter --rank 32

The difference of every linear layer of the transformer layers is replaced by its nearest matrix of that rank (singular
value decomposition) and stored in float16; what changed elsewhere (embeddings, biases, norms) is left out. Prints how
far the vectors of some texts lie from the trained model's, beside how far the training moved them (1 - cosine).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from rader_training import RetrieverConfig
from rader_training.models.adapters import add_lora
from rader_training.models.export import adapter_base
from safetensors.torch import load_file, save_file

from rader_plugins import load_encoder

TEXTS = ["Why do stars seem to move at night?", "the earth rotates on its axis", "friction makes objects warmer"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="what the training started from")
    parser.add_argument("trained", help="directory of the trained model")
    parser.add_argument("out", type=Path, help="folder for the adapter")
    parser.add_argument("--rank", type=int, default=32)
    options = parser.parse_args()
    encoders: list[Any] = [
        load_encoder(name, device="cpu", show_progress=False, shared=False) for name in (options.base, options.trained)
    ]
    base, trained = (encoder.encode_documents(TEXTS) for encoder in encoders)
    adapted = adapter(encoders[0].model[0].model, encoders[1].model[0].model, options.rank)
    adapted.peft_config["default"].base_model_name_or_path = adapter_base(options.base)
    write(adapted, options.out)
    encoders[0].model[0].model = adapted
    near = encoders[0].encode_documents(TEXTS)
    print(f"moved by the training {1 - (base * trained).sum(1).mean():.5f}")
    print(f"adapter to trained    {1 - (near * trained).sum(1).mean():.5f}")


def adapter(base: Any, trained: Any, rank: int) -> Any:
    """Put the nearest adapter of a rank on the base."""
    after = trained.state_dict()
    layers = tuple(range(base.config.num_hidden_layers))
    config = RetrieverConfig(lora_rank=rank, lora_alpha=rank, lora_dropout=0.0, lora_layers=layers)
    adapted = add_lora(base, config)
    for name, module in adapted.base_model.model.named_modules():
        if hasattr(module, "lora_A"):
            change = after[f"{name}.weight"].float() - module.base_layer.weight.detach().float()
            left, values, right = torch.linalg.svd(change, full_matrices=False)
            root = values[:rank].sqrt()
            module.lora_B["default"].weight.data = (left[:, :rank] * root).half().float()
            module.lora_A["default"].weight.data = (root[:, None] * right[:rank]).half().float()
    return adapted.eval()


def write(adapted: Any, out: Path) -> None:
    """Write settings and weights, in half precision."""
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        adapted.save_pretrained(temporary, save_embedding_layers=False)
        weights = load_file(Path(temporary) / "adapter_model.safetensors")
        settings = (Path(temporary) / "adapter_config.json").read_text(encoding="utf-8")
    save_file({name: tensor.half().contiguous() for name, tensor in weights.items()}, out / "adapter_model.safetensors")
    (out / "adapter_config.json").write_text(settings, encoding="utf-8")


if __name__ == "__main__":
    main()
