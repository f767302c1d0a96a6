#!/usr/bin/env bash
# Hurts ranks of batch jobs at random moments, starts each job again and counts what was lost.
#     scripts/chaos.sh [--rounds 100] [--seed 1] [--ranks "2 3 4"] [--preset release] [--out docs/results/chaos]
# Writes one table, as JSON and as Markdown. Exit code 1 where a record was lost or doubled or a job hung.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=release
arguments=()
while (($#)); do
  case $1 in
    -h | --help)
      sed -n '2,4s/^# *//p' "$0"
      exit 0
      ;;
    --preset)
      preset=${2:-}
      shift
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
kvfold="$root/build/$preset/launcher/kvfold"
if [[ ! -x $kvfold ]]; then
  echo "chaos.sh: no $kvfold; build it first: cmake --preset $preset && cmake --build --preset $preset" >&2
  exit 2
fi
exec python3 -B "$root/scripts/lib/chaos.py" --kvfold "$kvfold" --model "$root/tests/fixtures/models/llama_gqa" \
  --out "$root/docs/results/chaos" "${arguments[@]}"
