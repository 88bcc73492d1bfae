#!/usr/bin/env bash
# Measures the accelerator of this machine, in about seven minutes: the iteration whose numbers are recorded, whole
# iterations of the variants in turn at 256 and 1024 pixels, PyTorch's beside them, and memory.
#
#   tools/measure_device.sh OUT [--config.GROUP.FIELD=VALUE ...]
#
# Needs `pip install -e '.[cuda]' pytest`, and `pip install torch` for the rows of PyTorch. Writes OUT/*.json, and
# OUT/rows.md: the tables for docs/benchmarks.md. Fields that are given make it small, to try it on a CPU:
#
#   LIMIT_SECONDS=1800 ITERATIONS=1 BLOCKS=2 tools/measure_device.sh tiny --config.model.ngf=4 --config.model.ndf=4 \
#     --config.train.batch_size=2 --config.loss.reconstruction=l1
set -uo pipefail
[ $# -ge 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2; }
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
shift
cd "$(dirname "$0")/.."
mkdir -p "$out"
: > "$out/rows.md"
deadline=$((SECONDS + ${LIMIT_SECONDS:-420}))
failed=0
bf16=--config.train.precision=bfloat16
blocks="--iterations ${ITERATIONS:-10} --blocks ${BLOCKS:-5}"
backend=$(python -c "import jax; print(jax.default_backend(), '-', jax.devices()[0].device_kind)") || exit 1
echo "measuring $backend"

# Runs a command of the program within the time that is left, shows its output, and keeps its tables.
measure() {
  local name=$1 left=$((deadline - SECONDS))
  shift
  if [ "$left" -lt 20 ]; then
    echo "-- $name: left out, the time is up"
    failed=1
    return
  fi
  echo "-- $name, at most $left s: fastgan $*"
  if timeout "$left" python -m fastgan_jax "$@" --json "$out/$name.json" > "$out/$name.txt"; then
    { echo; echo "\`fastgan $*\`"; echo; cat "$out/$name.txt"; } | tee -a "$out/rows.md"
  else
    echo "-- $name: failed"
    failed=1
  fi
}

if [[ $backend != tpu* ]]; then # whose float64 is not that of the records
  echo "-- parity"
  timeout $((deadline - SECONDS)) python -m pytest -q -o addopts=--import-mode=importlib tests/gan/test_parity_iteration.py 2>&1 | tee "$out/parity.txt"
  [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
fi

timed=(benchmark) compiled=()
if python -c "import torch" 2> /dev/null; then
  timed=(benchmark-pytorch --compare) compiled=(--variant compiled)
else
  echo "-- PyTorch is not installed: its rows are left out"
fi
measure 256_bfloat16 "${timed[@]}" --config fewshot256 $bf16 $blocks "$@" "${compiled[@]}" \
  --against train.ops=reference --against train.ops=auto,discriminate=apart
measure 1024_bfloat16 benchmark --config art1024 $bf16 $blocks "$@" --against train.remat=blocks
measure 256_float32 "${timed[@]}" --config fewshot256 $blocks "$@"
measure 1024_compiled "${timed[@]}" --config art1024 $bf16 $blocks "$@" "${compiled[@]}"
echo "tables: $out/rows.md"
exit $failed
