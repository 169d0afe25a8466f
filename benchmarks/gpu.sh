#!/usr/bin/env bash
# Tests, sanitises and measures on a CUDA machine, most valuable first, within a quarter of an hour.
#
#   bash benchmarks/gpu.sh [RESULT.json]        (default: benchmarks/results/gpu.json)
#
#   PYTHON=...  a Python with a CUDA build of PyTorch >= 2.10 (default python3); tests need
#               pytest there, and some hypothesis: without these they are left out, and said to be
#   WHEEL=...   a wheel of the operators, built beforehand on a machine with nvcc:
#                 TORCH_CUDA_ARCH_LIST=9.0 KSDIFF_OPS_CUDA=1 pip wheel --no-deps ./ops
#               Its libraries are put beside the sources. Without WHEEL they must be there already.
#   LIMIT=...   seconds for everything (default 570)
#
# Nothing is compiled here. Every step's result is in RESULT.json and in the folder beside it,
# RESULT.steps, as soon as the step has ended; a step that breaks does not stop the next. Called
# again, the script leaves out the steps that have passed, so that it can be cut off anywhere;
# remove the folder to begin anew. Triton is tested where it is installed; where rasterio is, whole
# scenes and the models are measured; compute-sanitizer and ncu are run where they are found.
#
# Exit codes: 0 everything passed; 1 a step failed, or a test step ran out of time; 2 this machine
# cannot run it: nothing is written. Measurements may be cut short without making it a failure.
set -uo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"
result="$(realpath -m "${1:-$root/benchmarks/results/gpu.json}")"
parts="${result%.json}.steps"
limit="${LIMIT:-570}"

refuse() {
  echo "gpu.sh: $1" >&2
  exit 2
}

command -v "$python" >/dev/null || refuse "no Python '$python'; name one with PYTHON=..."
"$python" -c 'import torch' 2>/dev/null || refuse "$python has no PyTorch; name another with PYTHON=..."
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
  refuse "PyTorch sees no CUDA device here, and everything this script does needs one"
cd "$root"
if [[ -n "${WHEEL:-}" ]]; then
  "$python" -c 'import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
wheel.extractall(".", [n for n in wheel.namelist() if n.endswith(".so")])' "$WHEEL" ||
    refuse "cannot unpack WHEEL=$WHEEL"
fi
[[ -e ksdiff_ops/_C_cuda.so ]] ||
  refuse "no compiled CUDA kernels in ksdiff_ops; build a wheel where nvcc is, and name it with WHEEL=..."

export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
mkdir -p "$parts"
SECONDS=0
failed=0

# note NAME STATUS SECONDS: keeps how a step ended, and brings RESULT.json up to date.
note() {
  printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$parts/steps.tsv"
  echo "gpu.sh: $1: $2 after $3 s"
  "$python" -m benchmarks.gpu_result "$parts" "$result" >"$parts/summary.txt" || failed=1
}

passed() {
  [[ -e "$parts/steps.tsv" ]] && grep -qP "^$1\tpassed\t" "$parts/steps.tsv"
}

# step NAME must|may SECONDS COMMAND...: runs a step within its share of the time that is left. What
# `may` be cut short is interrupted, so that it writes what it has.
step() {
  local name="$1" duty="$2" share="$3" status code start=$SECONDS
  shift 3
  if passed "$name"; then
    echo "gpu.sh: $name: passed before"
    return 0
  fi
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
  note "$name" "$status" $((SECONDS - start))
  if [[ $status == failed* ]]; then
    failed=1
    tail -n 30 "$parts/$name.log" 2>/dev/null | sed 's/^/    /'
    return 1
  fi
}

has() { # whether the Python has a package
  "$python" -c "import $1" 2>/dev/null
}

# Tests need no conftest above their own folder, which would ask for packages that only scenes need.
tests=("$python" -m pytest -q -p no:cacheprovider --confcutdir tests/ops)
bench() { # NAME SECONDS MODULE ARGUMENTS...
  local name="$1" share="$2"
  shift 2
  step "$name" may "$share" "$python" -m "$@" --device cuda
}
tool() { # the path of one of the CUDA toolkit's programs, or nothing
  command -v "$1" || { [[ -x "${CUDA_HOME:-/usr/local/cuda}/bin/$1" ]] && echo "${CUDA_HOME:-/usr/local/cuda}/bin/$1"; }
}

step first-calls must 60 "$python" -m benchmarks.gpu_first "$parts"
if has pytest; then
  step gpu-tests must 180 "${tests[@]}" --maxfail 40 tests/ops/test_gpu.py
else
  note gpu-tests "skipped: no pytest" 0
fi
if sanitizer="$(tool compute-sanitizer)"; then
  for check in memcheck-cuda racecheck-cuda memcheck-triton; do
    # Every tensor in memory of its own, so that a read beyond its end is seen.
    step "$check" must 60 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$sanitizer" \
      --tool "${check%-*}" --error-exitcode 9 "$python" -m benchmarks.gpu_sanitize "${check#*-}"
  done
else
  note sanitizer "skipped: no compute-sanitizer" 0
fi
# The most telling cases first, then the rest: without what has to be compiled, which takes long.
bench operators 150 benchmarks.ops --json "$parts/operators.json" --quick --seconds 130
bench operators-rest 150 benchmarks.ops --json "$parts/operators.json" --eager --seconds 130
if has rasterio; then
  bench tile 60 benchmarks.models latency --only ksdiff-s --out "$parts/tile"
  bench models 120 benchmarks.models latency --out "$parts/models"
  scenes=1
else
  note models "skipped: no rasterio" 0
  scenes=0
fi
step profile may 30 "$python" -m benchmarks.gpu_profile "$parts"
if ncu="$(tool ncu)"; then
  step ncu may 60 "$ncu" --set full --launch-count 3 --force-overwrite --export "$parts/worst" \
    "$python" -m benchmarks.gpu_profile --run "$parts"
fi
((scenes)) && has pytest && step graph-tests must 60 "$python" -m pytest -q -p no:cacheprovider \
  tests/inference/test_graphs.py
# What Triton does on a CPU has no place here; tensorly is one test's second opinion.
leave_out=(--ignore tests/ops/test_gpu.py --ignore-glob "*triton*")
has tensorly || leave_out+=(--ignore tests/ops/test_tucker_kernel.py)
if has pytest && has hypothesis; then
  step other-tests must 120 "${tests[@]}" tests/ops "${leave_out[@]}"
else
  note other-tests "skipped: no pytest or no hypothesis" 0
fi

cat "$parts/summary.txt"
echo "gpu.sh: wrote $result after $SECONDS s"
exit $failed
