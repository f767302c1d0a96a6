#!/usr/bin/env bash
# From a fresh Debian to an answer about a long document, read by two ranks.
#     scripts/quickstart.sh [--model PATH] [--ranks N] [--document FILE] [--question TEXT]
# Without options it fetches a demo model, asks about a licence that every Debian has, and checks the answer.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The demo's question, and what its answer must hold.
question="What is this document called, and who published it?"
expected="General Public License"
document=/usr/share/common-licenses/GPL-3
ranks=2
model=""

while (($#)); do
  case $1 in
    --model | --ranks | --document | --question)
      if (($# < 2)); then
        echo "quickstart.sh: $1 wants a value" >&2
        exit 2
      fi
      # Another model, document or question has another answer.
      [[ $1 == --ranks ]] || expected=""
      printf -v "${1#--}" '%s' "$2"
      shift 2
      ;;
    -h | --help)
      sed -n '2,4s/^# *//p' "$0"
      exit 0
      ;;
    *)
      echo "quickstart.sh: unknown option '$1'; expected --model, --ranks, --document or --question" >&2
      exit 2
      ;;
  esac
done
for file in "$document" ${model:+"$model"}; do
  if [[ ! -r $file ]]; then
    echo "quickstart.sh: cannot read $file" >&2
    exit 2
  fi
done

"$root/scripts/install_deps.sh"
# shellcheck source=scripts/lib/local_mpi.sh
source "$root/scripts/lib/local_mpi.sh"
# shellcheck source=scripts/lib/build.sh
source "$root/scripts/lib/build.sh"
# Standard output is for the answer alone.
build_preset "$root" release kvfold >&2
[[ -n $model ]] || model=$("$root/scripts/fetch_demo_model.sh")

# The ranks share this machine's cores.
cores=$(nproc)
command=("${mpirun_local[@]}" -n "$ranks" "$root/build/release/launcher/kvfold" run --model "$model" --chat
  --document "$document" --prompt "$question" --max-new-tokens 48 --threads "$((cores > ranks ? cores / ranks : 1))")
{
  printf '\n$'
  printf ' %q' "${command[@]}"
  printf '\n\n'
} >&2
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
"${command[@]}" | tee "$answer"

if [[ -n $expected ]]; then
  if ! grep -qF -- "$expected" "$answer"; then
    echo "quickstart.sh: the answer does not hold '$expected'; something is wrong" >&2
    exit 1
  fi
  echo "quickstart.sh: the answer holds '$expected', as it should" >&2
fi
