#!/usr/bin/env bash
# What is to be measured on a GPU, most important first, for a machine that is there for minutes only:
#
#     PYTHON=.venv/bin/python TORCH_PYTHON=python3 bash benchmarks/gpu.sh OUT
#
# Each program's text is shown and kept in OUT, and a program that takes too long is ended; the rows that it has
# printed by then stay. PYTHON has this project's packages; TORCH_PYTHON has PyTorch, if that is another one.
set -u
mkdir -p "$1" && out=$(cd "$1" && pwd) && cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
torch=(${TORCH_PYTHON:+--torch_python="$TORCH_PYTHON"})
export PYTHONUNBUFFERED=1

run() { # NAME SECONDS COMMAND...
  local name=$1 seconds=$2 began=$SECONDS
  shift 2
  echo "=== $name: $*"
  timeout --kill-after=10 "$seconds" "$@" 2>&1 | tee "$out/$name.txt"
  echo "=== $name: status ${PIPESTATUS[0]} after $((SECONDS - began)) s" | tee -a "$out/status.txt"
}
step() { run "$1" "$2" "$python" benchmarks/train_step.py --device=gpu "${torch[@]}" "${@:3}"; }

run card 10 nvidia-smi
step bfloat16 300 --precisions=mixed_bfloat16 --sides=acfnet_tf,torch,acfnet_tf_xla --profile="$out/profile"
step tf32 240 --precisions=tf32 --sides=acfnet_tf,torch
run inference 240 "$python" benchmarks/inference.py --device=gpu "${torch[@]}" --precisions=mixed_bfloat16,tf32 --sides=predictor,torch
TF_CUDNN_USE_AUTOTUNE=0 step no_autotune 120 --precisions=mixed_bfloat16 --sides=acfnet_tf --rounds=5
run tests 240 "$python" -m pytest -m gpu -v --tb=short --maxfail=5 tests/gpu/test_{layers,losses,step}.py
run tests_of_runs 240 "$python" -m pytest -m gpu -v --tb=short --maxfail=5 tests/gpu/test_{prediction,runs,several}.py
step settings 300 --precisions=mixed_bfloat16 --sides=acfnet_tf_no_xla,acfnet_tf_deterministic
# TensorFlow's own norms keep maps of 16 bits channels-last with this variable only.
TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT=1 step persistent 120 --precisions=mixed_bfloat16 --sides=acfnet_tf_no_xla
step rest 400 --precisions=mixed_float16,float32 --sides=acfnet_tf,torch
step compiled 400 --precisions=mixed_bfloat16,tf32 --sides=acfnet_tf_xla,torch_compile
run inference_compiled 400 "$python" benchmarks/inference.py --device=gpu "${torch[@]}"
cat "$out/status.txt"
