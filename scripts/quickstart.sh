#!/usr/bin/env bash
# From a fresh Debian to an answer about a long document, read by two ranks.
#     scripts/quickstart.sh [--model PATH] [--ranks N] [--document FILE] [--question TEXT] [--cuda]
# Without options it fetches a demo model, asks about a licence that every Debian has, and checks the answer.
# Kernels for GPUs are compiled where an NVIDIA driver is, for the GPUs that are there; --cuda compiles them in any case.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The demo's question, and what its answer must hold.
question="What is this document called, and who published it?"
expected="General Public License"
document=/usr/share/common-licenses/GPL-3
ranks=2
model=""
cuda=""

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
    --cuda)
      cuda=ON
      shift
      ;;
    -h | --help)
      sed -n '2,5s/^# *//p' "$0"
      exit 0
      ;;
    *)
      echo "quickstart.sh: unknown option '$1'; expected --model, --ranks, --document, --question or --cuda" >&2
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

# What other programs say goes to a log; here stands a line a step. Standard output is for the answer alone.
log=$root/build/quickstart.log
mkdir -p "$root/build"
: >"$log"
echo "quickstart.sh: what the tools say is in $log" >&2

# step TEXT COMMAND...: what COMMAND prints is the step's output where it is captured; what it says goes to the log.
step() {
  local text=$1 start=$SECONDS code=0
  shift
  printf 'quickstart.sh: %s ... ' "$text" >&2
  printf '\n== %s\n' "$text" >>"$log"
  "$@" 2>>"$log" || code=$?
  if ((code)); then
    printf 'failed after %d s; the last that was said:\n' $((SECONDS - start)) >&2
    tail -n 15 "$log" >&2
    echo "quickstart.sh: all of it is in $log" >&2
    exit "$code"
  fi
  printf '%d s\n' $((SECONDS - start)) >&2
}

# Compute capabilities of the GPUs that are here, one a line: 80, 90, 120.
capabilities() {
  nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | tr -d '. ' | grep -xE '[1-9][0-9]+' | sort -nu
}

step "installing the packages that are missing" "$root/scripts/install_deps.sh" >>"$log"
# shellcheck source=scripts/lib/local_mpi.sh
source "$root/scripts/lib/local_mpi.sh"
# shellcheck source=scripts/lib/build.sh
source "$root/scripts/lib/build.sh"
gpus=$(capabilities || true)
# As CMake names those that kvfold runs on, 8.0 and later: 89-real;90a-real.
found=$(awk '$1 >= 80 {print ($1 == 90 ? "90a" : $1) "-real"}' <<<"$gpus" | paste -sd ';')
if [[ -n $found ]]; then
  for_devices="for the GPUs here ($found)"
elif [[ -n $cuda || (-z $gpus && -e /proc/driver/nvidia/version) ]]; then
  for_devices="for GPUs of all kinds, which takes long"
elif [[ -n $gpus ]]; then
  cuda=OFF
  for_devices="for CPUs: the GPUs here are older than compute capability 8.0"
else
  cuda=OFF
  for_devices="for CPUs: no NVIDIA driver is here (--cuda builds for GPUs all the same)"
fi
# shellcheck disable=SC2034  # read by build_preset
build_options=("-DKVFOLD_CUDA=${cuda:-AUTO}")
[[ -z $found ]] || build_options+=("-DKVFOLD_CUDA_ARCHITECTURES=$found")
step "building kvfold $for_devices" build_preset "$root" quickstart kvfold >>"$log"
if [[ -z $model ]]; then
  step "fetching the demo model" "$root/scripts/fetch_demo_model.sh" >"$root/build/quickstart.model"
  model=$(<"$root/build/quickstart.model")
fi

# The ranks share this machine's cores.
cores=$(nproc)
command=("${mpirun_local[@]}" -n "$ranks" "$root/build/quickstart/launcher/kvfold" run --model "$model" --chat
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
