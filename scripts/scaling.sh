#!/usr/bin/env bash
# Sweeps ranks, chunk and context with `kvfold bench` and writes one table, as JSON and as Markdown.
#     scripts/scaling.sh --model PATH [--ranks "1 2"] [--chunks "64 256 1024"] [--tokens "1024 4096"]
#                        [--threads "1"] [--repeats 3] [--out docs/results/scaling]
# --threads: of each rank. Every rank keeps its threads, so that more ranks are more cores.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

model=""
ranks="1 2"
chunks="64 128 256 512 1024 2048"
tokens="1024 4096 8192"
threads=1
repeats=3
out="$root/docs/results/scaling"
while (($#)); do
  case $1 in
    --model | --ranks | --chunks | --tokens | --threads | --repeats | --out)
      if (($# < 2)); then
        echo "scaling.sh: $1 wants a value" >&2
        exit 2
      fi
      printf -v "${1#--}" '%s' "$2"
      shift 2
      ;;
    -h | --help)
      sed -n '2,5s/^# *//p' "$0"
      exit 0
      ;;
    *)
      echo "scaling.sh: unknown option '$1'" >&2
      exit 2
      ;;
  esac
done
if [[ -z $model ]]; then
  echo "scaling.sh: expected --model PATH" >&2
  exit 2
fi
kvfold="$root/build/release/launcher/kvfold"
if [[ ! -x $kvfold ]]; then
  echo "scaling.sh: no $kvfold; build it first: cmake --preset release && cmake --build --preset release" >&2
  exit 2
fi
# shellcheck source=scripts/lib/local_mpi.sh
source "$root/scripts/lib/local_mpi.sh"

comma() { tr -s ' ' ',' <<<"$1"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for n in $ranks; do
  echo "scaling.sh: $n ranks of $threads threads" >&2
  "${mpirun_local[@]}" -n "$n" "$kvfold" bench --model "$model" --tokens "$(comma "$tokens")" --chunk "$(comma "$chunks")" \
    --repeats "$repeats" --threads "$threads" --json --log-level warn >"$work/$n.json"
done
mkdir -p "$(dirname "$out")"
python3 "$root/scripts/scaling_table.py" --out "$out" "$work"/*.json
echo "scaling.sh: wrote $out.json and $out.md" >&2
