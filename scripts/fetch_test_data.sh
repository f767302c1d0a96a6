#!/usr/bin/env bash
# Fetches what the tests read beyond the repository, and prints it as shell assignments:
#     eval "$(scripts/fetch_test_data.sh)"
# KVFOLD_DEMO_MODEL is the demo model; KVFOLD_LLAMA3_TOKENIZER Llama 3's tokenizer.json, converted from the tiktoken file
# in the Python package llama-models. Exits 2 after one sentence where they cannot be had.
set -euo pipefail
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/cache.sh
source "$scripts/lib/cache.sh"

demo_model=$("$scripts/fetch_demo_model.sh")
ranks=$(cached_member llama-models 0.3.0 7f77f78ff13fca09f70d76a376aff6414cd901623fb9d57e69c2f8367a73032f \
  llama_models/llama3/tokenizer.model \
  llama3_tokenizer.model 82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55)

# The conversion depends on the script: another script, another file.
converter="$scripts/tiktoken_to_tokenizer_json.py"
llama3="$kvfold_cache/llama3_tokenizer_$(sha256sum "$converter" | cut -c 1-12).json"
if [[ ! -s $llama3 ]]; then
  made=$(mktemp "$kvfold_cache/.convert.XXXXXX")
  trap 'rm -f "$made"' EXIT
  if ! python3 "$converter" "$ranks" "$made" >&2; then
    echo "cannot convert $ranks to a tokenizer.json" >&2
    exit 2
  fi
  mv "$made" "$llama3" # a rename: another process sees all of the file or none
fi

printf 'export KVFOLD_DEMO_MODEL=%q\n' "$demo_model"
printf 'export KVFOLD_LLAMA3_TOKENIZER=%q\n' "$llama3"
