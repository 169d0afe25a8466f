#!/usr/bin/env bash
# Tests, sanitises and measures on a CUDA machine, most valuable first, within a quarter of an hour.
#
#   bash benchmarks/gpu.sh [RESULT.json]        (default: benchmarks/results/gpu.json)
#
#   PYTHON=...  a Python with a CUDA build of PyTorch >= 2.10 (default: python3); what it lacks of
#               pytest, hypothesis and rasterio leaves out the steps that need them
#   WHEEL=...   a wheel of the operators, built beforehand on a machine with nvcc:
#                 TORCH_CUDA_ARCH_LIST=9.0 KSDIFF_OPS_CUDA=1 pip wheel --no-deps ./ops
#               Its libraries are put beside the sources. Without WHEEL they must be there already.
#   LIMIT=...   seconds for everything (default: 570)
#
# Nothing is compiled here. Every step's result is in RESULT.json and in the folder beside it,
# RESULT.steps, as soon as the step has ended; a step that breaks does not stop the next. Called
# again, the script leaves out the steps that have passed, so that it can be cut off anywhere;
# remove the folder to begin anew.
#
# Exit codes: 0 everything passed; 1 a step failed, or a test step ran out of time; 2 this machine
# cannot run it: nothing is written. Measurements may be cut short without making it a failure.
set -euo pipefail
python="${PYTHON:-python3}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
result="$(realpath -m "${1:-$root/benchmarks/results/gpu.json}")"
if ! "$python" -c 'import torch'; then
  echo "gpu.sh: PYTHON=$python: expected a Python with PyTorch; name another" >&2
  exit 2
fi
cd "$root"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
export PATH="$PATH:${CUDA_HOME:-/usr/local/cuda}/bin"
exec "$python" -m benchmarks.gpu "$result"
