#!/usr/bin/env bash
# Builds kvfold and runs every test.
#     scripts/test.sh [--preset release|debug|asan|tsan] [-- CTEST_OPTION...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

preset=release
while (($#)); do
  case $1 in
    --preset)
      preset=${2:-}
      shift
      ;;
    --)
      shift
      break
      ;;
    -h | --help)
      sed -n '2,3s/^# *//p' "$0"
      exit 0
      ;;
    *)
      echo "test.sh: unknown option '$1'; expected --preset NAME, or -- and options of ctest" >&2
      exit 2
      ;;
  esac
  (($#)) && shift
done
case $preset in
  release | debug | asan | tsan) ;;
  *)
    echo "test.sh: unknown preset '$preset'; expected release, debug, asan or tsan" >&2
    exit 2
    ;;
esac

"$root/scripts/install_deps.sh"
test_data=$("$root/scripts/fetch_test_data.sh")
eval "$test_data"
# shellcheck source=scripts/lib/local_mpi.sh
source "$root/scripts/lib/local_mpi.sh"
# shellcheck source=scripts/lib/build.sh
source "$root/scripts/lib/build.sh"

build_preset "$root" "$preset"
cd "$root"
ctest --preset "$preset" --parallel "$(nproc)" "$@"
