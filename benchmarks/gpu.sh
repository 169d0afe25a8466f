#!/usr/bin/env bash
# Builds, tests, sanitises and measures on a CUDA machine, in under ten minutes, into one JSON file.
#
#   bash benchmarks/gpu.sh [RESULT.json]        (default: benchmarks/results/gpu.json)
#
# Needs nvcc (CUDA_HOME or PATH) and a Python (PYTHON=..., default python3) with a CUDA build of
# PyTorch >= 2.10, setuptools, pybind11, ninja, pytest and hypothesis. Triton is
# tested where it is installed; where rasterio is, CUDA graphs of whole scenes are tested and the
# model's tile is measured; compute-sanitizer is run where it is found (PATH or CUDA_HOME). The
# kernels are built in place, for the GPU that is there or for TORCH_CUDA_ARCH_LIST; nothing is
# installed.
#
# Exit codes: 0 everything passed; 1 a step failed, or a test step ran out of time: the file is
# written and says which; 2 this machine cannot run it: nothing is written. Measurements are taken
# most useful first, and the last of them may be cut short without making the run a failure.
set -uo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"
result="$(realpath -m "${1:-$root/benchmarks/results/gpu.json}")"
limit=570 # seconds for everything

refuse() {
  echo "gpu.sh: $1" >&2
  exit 2
}

command -v "$python" >/dev/null || refuse "no Python '$python'; name one with PYTHON=..."
"$python" -c 'import torch' 2>/dev/null || refuse "$python has no PyTorch; name another with PYTHON=..."
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
  refuse "PyTorch sees no CUDA device here, and everything this script does needs one"
[[ -n "${CUDA_HOME:-}" && -x "${CUDA_HOME:-}/bin/nvcc" ]] || command -v nvcc >/dev/null ||
  [[ -x /usr/local/cuda/bin/nvcc ]] || refuse "no nvcc in CUDA_HOME or on PATH"
for module in setuptools pybind11 ninja pytest hypothesis; do
  "$python" -c "import $module" 2>/dev/null || refuse "$python lacks the package $module"
done

cd "$root"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
parts="$(mktemp -d)"
trap 'rm -rf "$parts"' EXIT
SECONDS=0
failed=0

# step NAME must|may SECONDS COMMAND...: runs a step within its share of the time that is left, and
# notes how it ended. What `may` be cut short is interrupted, so that it writes what it has.
step() {
  local name="$1" duty="$2" share="$3" status code start=$SECONDS
  shift 3
  ((share > limit - SECONDS)) && share=$((limit - SECONDS))
  if ((share < 10)); then
    status=$([[ $duty == may ]] && echo "no time left" || echo "failed: no time left")
  else
    echo "gpu.sh: $name (at most $share s)"
    timeout --signal INT --kill-after 10 "$share" "$@" >"$parts/$name.log" 2>&1
    code=$?
    case "$code:$duty" in
      0:*) status=passed ;;
      124:may | 137:may) status="cut short" ;;
      124:* | 137:*) status="failed: out of time" ;;
      *) status="failed: exit code $code" ;;
    esac
  fi
  printf '%s\t%s\t%s\n' "$name" "$status" $((SECONDS - start)) >>"$parts/steps.tsv"
  echo "gpu.sh: $name: $status after $((SECONDS - start)) s"
  if [[ $status == failed* ]]; then
    failed=1
    tail -n 30 "$parts/$name.log" 2>/dev/null | sed 's/^/    /'
    return 1
  fi
}

skip() {
  printf '%s\tskipped: %s\t0\n' "$1" "$2" >>"$parts/steps.tsv"
  echo "gpu.sh: $1: skipped: $2"
}

# Tests need no conftest above their own folder, which would ask for packages that only scenes need.
tests=("$python" -m pytest -q -p no:cacheprovider --confcutdir tests/ops)
bench() { # NAME SECONDS MODULE ARGUMENTS...
  local name="$1" share="$2"
  shift 2
  step "$name" may "$share" "$python" -m "$@" --device cuda
}

"$python" -c 'import rasterio' 2>/dev/null && rasters=1 || rasters=0
capability="$("$python" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')"
if step build must 200 env KSDIFF_OPS_CUDA=1 \
  TORCH_CUDA_ARCH_LIST="${TORCH_CUDA_ARCH_LIST:-$capability}" \
  "$python" setup.py build_ext --inplace; then
  step gpu-tests must 150 "${tests[@]}" --maxfail 20 --junitxml "$parts/gpu-tests.xml" \
    tests/ops/test_gpu.py
  if ((rasters)); then
    step graph-tests must 60 "$python" -m pytest -q -p no:cacheprovider \
      --junitxml "$parts/graph-tests.xml" tests/inference/test_graphs.py
  else
    skip graph-tests "no rasterio"
  fi
  # What Triton does on a CPU has no place here; tensorly is one test's second opinion.
  leave_out=(--ignore tests/ops/test_gpu.py --ignore-glob "*triton*")
  "$python" -c 'import tensorly' 2>/dev/null || leave_out+=(--ignore tests/ops/test_tucker_kernel.py)
  step other-tests must 120 "${tests[@]}" --junitxml "$parts/other-tests.xml" \
    tests/ops "${leave_out[@]}"
  sanitizer="$(command -v compute-sanitizer || echo "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")"
  for tool in memcheck racecheck; do
    if [[ -x $sanitizer ]]; then
      # Every tensor in memory of its own, so that a read beyond its end is seen.
      step "$tool" must 60 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
        "$sanitizer" --tool "$tool" --error-exitcode 9 "$python" -m benchmarks.gpu_sanitize cuda
    else
      skip "$tool" "no compute-sanitizer"
    fi
  done
  # The most telling cases first, then the rest: without what has to be compiled, which takes long.
  bench operators 150 benchmarks.ops --json "$parts/operators.json" --quick --seconds 130
  bench operators-rest 150 benchmarks.ops --json "$parts/operators.json" --eager --seconds 130
  if ((rasters)); then
    bench tile 60 benchmarks.models latency --only ksdiff-s --out "$parts/tile"
  else
    skip tile "no rasterio"
  fi
fi

mkdir -p "$(dirname "$result")"
"$python" -m benchmarks.gpu_result "$parts" "$result" || exit 1
echo "gpu.sh: wrote $result after $SECONDS s"
exit $failed
