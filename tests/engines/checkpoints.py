"""The embedded model as quantized checkpoints: the formats that people serve, made without a hub.

``python checkpoints.py SOURCE TARGET FORMAT`` makes one of them. Every linear layer is rounded to the
nearest value; embeddings and norms stay in bfloat16.
"""

import json
import shutil
import sys
from pathlib import Path

W8A8 = "w8a8"
W4A16 = "w4a16"
FP8_CHANNEL = "fp8-channel"
FP8_TENSOR = "fp8-tensor"
FP8_BLOCK = "fp8-block"
GPTQ = "gptq"
AWQ = "awq"
MODELOPT = "modelopt"
NF4 = "bnb-nf4"
INT8 = "bnb-int8"

_GROUP = 64
"""Inputs of a group; the model's width is not a multiple of 128."""
_FP8_MAX = 448
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def make(source, folder, name):
    """Write the checkpoint of one format.

    Args:
        source: folder of the plain model, in bfloat16.
        folder: where to write; it does not exist yet.
        name: one of the names above.
    """
    if name in _BITSANDBYTES:
        return _save_bitsandbytes(source, folder, _BITSANDBYTES[name])
    from safetensors.torch import load_file, save_file

    quantize, config = _FORMATS[name]
    tensors = {}
    for key, tensor in load_file(source / "model.safetensors").items():
        if key.endswith("_proj.weight"):
            parts = quantize(tensor.float())
            prefix = key.removesuffix("weight")
            tensors |= {prefix + part: value.contiguous() for part, value in parts.items()}
        else:
            tensors[key] = tensor
    folder.mkdir()
    _copy_the_rest(source, folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if name == MODELOPT:
        (folder / "hf_quant_config.json").write_text(json.dumps(config))
    else:
        model = json.loads((source / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**model, "quantization_config": config}))


def _copy_the_rest(source, folder):
    for file in source.iterdir():
        if file.suffix != ".safetensors" and not (folder / file.name).exists():
            shutil.copy(file, folder)


def _save_bitsandbytes(source, folder, options):
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    model = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=torch.bfloat16,
        device_map="cpu",
        quantization_config=BitsAndBytesConfig(**options),
    )
    model.save_pretrained(folder)
    _copy_the_rest(source, folder)


def _int8_rows(weight):
    import torch

    scale = _bfloat16(weight.abs().amax(dim=1, keepdim=True) / 127)
    return {
        "weight": (weight / scale).round().clamp(-128, 127).to(torch.int8),
        "weight_scale": scale.to(torch.bfloat16),
    }


def _fp8_rows(weight):
    import torch

    scale = _bfloat16(weight.abs().amax(dim=1, keepdim=True) / _FP8_MAX)
    return {"weight": _fp8(weight / scale), "weight_scale": scale.to(torch.bfloat16)}


def _fp8_tensor(weight):
    scale = weight.abs().max() / _FP8_MAX
    return {"weight": _fp8(weight / scale), "weight_scale": scale.reshape(1)}


def _fp8_modelopt(weight):
    import torch

    # The scale of the inputs comes from a calibration, which no test needs.
    scale = weight.abs().max() / _FP8_MAX
    return {
        "weight": _fp8(weight / scale),
        "weight_scale": scale,
        "input_scale": torch.tensor(0.1),
    }


def _fp8_blocks(weight):
    import torch

    rows, columns = weight.shape
    padded = torch.zeros(-(-rows // 128) * 128, -(-columns // 128) * 128)
    padded[:rows, :columns] = weight
    blocks = padded.reshape(padded.shape[0] // 128, 128, padded.shape[1] // 128, 128)
    scale = blocks.abs().amax(dim=(1, 3)) / _FP8_MAX
    each = scale.repeat_interleave(128, 0).repeat_interleave(128, 1)[:rows, :columns]
    return {"weight": _fp8(weight / each), "weight_scale_inv": scale}


def _four_bits(weight, middle):
    """Return codes 0 to 15 and scales of groups; the code of zero is ``middle``."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // _GROUP, _GROUP)
    scale = groups.abs().amax(dim=2, keepdim=True) / 7.5
    scale = _bfloat16(scale).half().float()  # A value of both 16-bit types.
    codes = (groups / scale).round().clamp(-8, 7) + middle
    return codes.reshape(rows, columns).int(), scale.squeeze(2)


def _packed_rows(weight):
    import torch

    codes, scale = _four_bits(weight, 8)
    return {
        "weight_packed": _pack(codes),
        "weight_scale": scale.to(torch.bfloat16),
        "weight_shape": torch.tensor(weight.shape, dtype=torch.int64),
    }


def _gptq(weight):
    import torch

    codes, scale = _four_bits(weight, 8)
    zeros = torch.full_like(scale, 7).int()  # The format's first version stores one less.
    groups = torch.arange(weight.shape[1], dtype=torch.int32) // _GROUP
    return {
        "qweight": _pack(codes).T,
        "qzeros": _pack(zeros.T),
        "scales": scale.T.half(),
        "g_idx": groups,
    }


def _awq(weight):
    import torch

    codes, scale = _four_bits(weight, 8)
    zeros = torch.full_like(scale, 8).int()
    return {
        "qweight": _pack(codes.T, _AWQ_ORDER),
        "qzeros": _pack(zeros.T, _AWQ_ORDER),
        "scales": scale.T.half(),
    }


def _pack(codes, order=tuple(range(8))):
    """Return eight codes in an int32, the first one of ``order`` in the lowest bits."""
    import torch

    parts = codes.reshape(codes.shape[0], -1, 8).long()
    total = sum(parts[:, :, which] << (4 * place) for place, which in enumerate(order))
    return torch.where(total >= 1 << 31, total - (1 << 32), total).to(torch.int32)


def _fp8(values):
    import torch

    return values.clamp(-_FP8_MAX, _FP8_MAX).to(torch.float8_e4m3fn)


def _bfloat16(values):
    """Return values as a scale in bfloat16 has them."""
    import torch

    return values.to(torch.bfloat16).float()


def _compressed(layout, bits, kind, activations, **weights):
    tokens = {"strategy": "token", "symmetric": True, "dynamic": True}
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {
                    "num_bits": bits,
                    "type": kind,
                    "symmetric": True,
                    "dynamic": False,
                    **weights,
                },
                "input_activations": (
                    {"num_bits": bits, "type": kind, **tokens} if activations else None
                ),
            }
        },
    }


_DYNAMIC = {"quant_method": "fp8", "activation_scheme": "dynamic"}
_INT4 = {"bits": 4, "group_size": _GROUP}
_FORMATS = {
    W8A8: (_int8_rows, _compressed("int-quantized", 8, "int", True, strategy="channel")),
    W4A16: (
        _packed_rows,
        _compressed("pack-quantized", 4, "int", False, strategy="group", group_size=_GROUP),
    ),
    FP8_CHANNEL: (_fp8_rows, _compressed("float-quantized", 8, "float", True, strategy="channel")),
    FP8_TENSOR: (_fp8_tensor, _DYNAMIC),
    FP8_BLOCK: (_fp8_blocks, {**_DYNAMIC, "weight_block_size": [128, 128]}),
    GPTQ: (_gptq, {"quant_method": "gptq", **_INT4, "sym": True, "desc_act": False}),
    AWQ: (_awq, {"quant_method": "awq", **_INT4, "zero_point": True, "version": "gemm"}),
    MODELOPT: (
        _fp8_modelopt,
        {
            "producer": {"name": "modelopt", "version": "0.29.0"},
            "quantization": {
                "quant_algo": "FP8",
                "kv_cache_quant_algo": None,
                "exclude_modules": ["lm_head"],
            },
        },
    ),
}
_BITSANDBYTES = {
    NF4: {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"},
    INT8: {"load_in_8bit": True},
}
NAMES = (*_FORMATS, *_BITSANDBYTES)


if __name__ == "__main__":
    import torch

    # More threads wait for each other on a machine that does something else, too.
    torch.set_num_threads(1)
    make(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
