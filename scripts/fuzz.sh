#!/usr/bin/env bash
# Feeds made-up files and lines to the readers of kvfold, under sanitizers, with libFuzzer (clang).
#     scripts/fuzz.sh [--seconds 20 | --runs N] [--jobs N] [--if-possible] [TARGET...]
# Each target runs for so many seconds or executions, as many at once as there are cores (--jobs). With --if-possible a machine
# without libFuzzer is no trouble. Exit code 1: an input was found that should not have done what it did; it is kept.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/fuzz
source_folder=$root/tests/fuzz

usage() {
  echo "fuzz.sh: $1; expected [--seconds N | --runs N] [--jobs N] [--if-possible] [TARGET...]" >&2
  exit 2
}

limit=-max_total_time=20
jobs=$(nproc)
if_possible=
targets=()
while (($#)); do
  case $1 in
    --seconds | --runs | --jobs)
      [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage "$1 takes a number"
      case $1 in
        --seconds) limit=-max_total_time=$2 ;;
        --runs) limit=-runs=$2 ;;
        --jobs) jobs=$2 ;;
      esac
      shift
      ;;
    --if-possible) if_possible=1 ;;
    -h | --help)
      sed -n '2,3s/^# *//p' "$0"
      exit 0
      ;;
    -*) usage "unknown option '$1'" ;;
    *)
      [[ -f $source_folder/$1_fuzz.cc ]] || usage "unknown target '$1'"
      targets+=("$1")
      ;;
  esac
  shift
done
if ((!${#targets[@]})); then
  for source in "$source_folder"/*_fuzz.cc; do
    source=${source##*/}
    targets+=("${source%_fuzz.cc}")
  done
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' >"$work/probe.cc"
if ! clang++ -fsanitize=fuzzer,address,undefined "$work/probe.cc" -o "$work/probe" >"$work/why" 2>&1; then
  echo "fuzz.sh: skipped: clang++ cannot link libFuzzer here (Debian packages clang and libclang-rt-dev)" >&2
  [[ $if_possible ]] && exit 0
  cat "$work/why" >&2
  exit 2
fi

# shellcheck source=scripts/lib/build.sh
source "$root/scripts/lib/build.sh"
build_preset "$root" fuzz "${targets[@]/#/fuzz_}" >"$work/build" 2>&1 || {
  cat "$work/build" >&2
  exit 1
}

# run_target NAME: its log, seconds and exit code under $work.
run_target() {
  local name=$1 code=0 inputs=("$build/corpus/$1") begin=$EPOCHREALTIME
  mkdir -p "${inputs[0]}" "$build/findings"
  for folder in seeds regressions; do
    [[ -d $source_folder/$folder/$name ]] && inputs+=("$source_folder/$folder/$name")
  done
  # Short stacks of allocations and plain corpus statistics: half as fast again.
  ASAN_OPTIONS=malloc_context_size=1 nice "$build/tests/fuzz/fuzz_$name" "$limit" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=1024 -max_len=4096 -entropic=0 \
    -dict="$source_folder/dictionaries/$name.dict" -artifact_prefix="$build/findings/$name-" -print_final_stats=1 \
    "${inputs[@]}" >"$work/$name.log" 2>&1 || code=$?
  echo "$(((${EPOCHREALTIME/./} - ${begin/./}) / 1000000)) $code" >"$work/$name.done"
}

for name in "${targets[@]}"; do
  while (($(jobs -pr | wc -l) >= jobs)); do wait -n; done
  run_target "$name" &
done
wait

found=0
printf '%-16s %12s %9s %12s  %s\n' target executions seconds "a second" result
for name in "${targets[@]}"; do
  read -r seconds code <"$work/$name.done"
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log")
  result=clean
  if ((code)); then
    found=1
    result="exit $code: $(grep -oE 'ERROR: .*|runtime error: .*|terminate called.*' "$work/$name.log" | head -n 1 | cut -c 1-120)"
  fi
  printf '%-16s %12s %9s %12s  %s\n' "$name" "${executions:-?}" "$seconds" "$((${executions:-0} / (seconds > 0 ? seconds : 1)))" "$result"
done
if ((found)); then
  echo "fuzz.sh: the inputs are in $build/findings; what each run said last:" >&2
  for name in "${targets[@]}"; do
    grep -q ' 0$' "$work/$name.done" || tail -n 40 "$work/$name.log" >&2
  done
  exit 1
fi
