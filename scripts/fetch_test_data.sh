#!/usr/bin/env bash
# Fetches what the tests read beyond the repository, and prints it as shell assignments:
#     eval "$(scripts/fetch_test_data.sh)"
# KVFOLD_DEMO_MODEL is the demo model; KVFOLD_LLAMA3_TOKENIZER a folder with Llama 3's tokenizer.json, converted from the
# tiktoken file in the Python package llama-models. Exits 2 after one sentence where they cannot be had.
set -euo pipefail
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/cache.sh
source "$scripts/lib/cache.sh"

demo_model=$("$scripts/fetch_demo_model.sh")
ranks=$(cached_member llama-models 0.3.0 7f77f78ff13fca09f70d76a376aff6414cd901623fb9d57e69c2f8367a73032f \
  llama_models/llama3/tokenizer.model \
  llama3_tokenizer.model 82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55)

# The conversion depends on the script: another script, another folder.
converter="$scripts/tiktoken_to_tokenizer_json.py"
version=$(sha256sum "$converter" | cut -c 1-12)
llama3="$kvfold_cache/llama3_tokenizer_$version"
if [[ ! -f $llama3/tokenizer.json ]]; then
  folder=$(mktemp -d "$kvfold_cache/.convert.XXXXXX")
  trap 'rm -rf "$folder"' EXIT
  if ! python3 "$converter" "$ranks" "$folder/made" >&2 || [[ ! -f $folder/made/tokenizer.json ]]; then
    echo "cannot convert $ranks to a tokenizer.json" >&2
    exit 2
  fi
  # A rename: another process sees all of the folder or none; where it was first, its folder is as good.
  mv -T "$folder/made" "$llama3" 2>/dev/null || [[ -f $llama3/tokenizer.json ]]
fi

printf 'export KVFOLD_DEMO_MODEL=%q\n' "$demo_model"
printf 'export KVFOLD_LLAMA3_TOKENIZER=%q\n' "$llama3"
