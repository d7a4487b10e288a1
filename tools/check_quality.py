"""Perplexity, KL divergence and agreement of bitsandbytes modes, computed with transformers only.

    python tools/check_quality.py MODEL [--modes none,int8,nf4] [--against RUN.json]

Shares only the text with the plugin: separate code, float64, one process, no cache. MODEL is a folder
or a hub id. With ``--against`` a stored run of benchmarks/test_quality.py it also prints the plugin's
figures, and exits with 1 if one differs by more than half a percent.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

TEXT = Path(__file__).resolve().parent.parent / "pytest_llmperf" / "core" / "texts" / "prose.txt"
MODES: dict[str, dict[str, Any]] = {
    "none": {},
    "int8": {"load_in_8bit": True},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "nf4-dq": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    },
}
TOLERANCE = 0.005


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--against", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    documents = tokenized(options.model)
    unquantized = distributions(options.model, "none", documents)
    stored = read(options.against) if options.against else {}
    worst = 0.0
    for mode in options.modes.split(","):
        rows = unquantized if mode == "none" else distributions(options.model, mode, documents)
        found = figures(rows, unquantized, documents)
        print(mode, *(f"{key} {value:.6g}" for key, value in found.items()), flush=True)
        if options.against:
            # A divergence of zero has no ratio.
            ratios = {k: stored[mode][k] / v - 1 for k, v in found.items() if v}
            worst = max(worst, *(abs(ratio) for ratio in ratios.values()))
            print("  stored:", *(f"{k} {ratio:+.3%}" for k, ratio in ratios.items()), flush=True)
    if options.against:
        print(f"largest difference: {worst:.3%}")
    return int(worst > TOLERANCE)


def tokenized(model: str) -> list[torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    parts = TEXT.read_text("ascii").split("\n\n")
    return [tokenizer(part.strip(), return_tensors="pt").input_ids for part in parts]


def distributions(model: str, mode: str, documents: list[torch.Tensor]) -> list[torch.Tensor]:
    settings = MODES[mode]
    if settings.get("load_in_4bit"):
        settings = {**settings, "bnb_4bit_compute_dtype": torch.bfloat16}
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    options = {"quantization_config": BitsAndBytesConfig(**settings)} if settings else {}
    loaded = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.bfloat16, device_map=device, **options
    ).eval()
    with torch.no_grad():
        return [
            torch.log_softmax(loaded(ids.to(device)).logits[0].float(), -1).cpu()
            for ids in documents
        ]


def figures(
    rows: list[torch.Tensor], unquantized: list[torch.Tensor], documents: list[torch.Tensor]
) -> dict[str, float]:
    loss = divergence = same = 0.0
    count = 0
    for q, p, ids in zip(rows, unquantized, documents, strict=True):
        # The last position has no next token.
        q, p, following = q[:-1].double(), p[:-1].double(), ids[0, 1:]
        loss -= q.gather(1, following[:, None]).sum().item()
        divergence += torch.nn.functional.kl_div(q, p, reduction="sum", log_target=True).item()
        same += (q.argmax(1) == p.argmax(1)).sum().item()
        count += len(following)
    return {
        "perplexity": math.exp(loss / count),
        "kl_divergence": divergence / count,
        "top1_agreement": same / count,
    }


def read(run: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of transformers' cells in a stored run, by mode."""
    found = {}
    for entry in json.loads(run.read_text("utf-8"))["benchmarks"]:
        record = entry["extra_info"].get("llmperf", {})
        if "quality" in record and record["backend"]["name"] == "transformers":
            values = {key: metric["p50"] for key, metric in record["metrics"].items()}
            found[record["quantization"]["mode"]] = values
    return found


if __name__ == "__main__":
    sys.exit(main())
