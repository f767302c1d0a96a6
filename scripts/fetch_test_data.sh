#!/usr/bin/env bash
# Fetches what the tests read beyond the repository, and prints it as shell assignments:
#     eval "$(scripts/fetch_test_data.sh)"
# KVFOLD_DEMO_MODEL is the demo model, KVFOLD_GEMMA3_MODEL Gemma 3 270M; KVFOLD_LLAMA3_TOKENIZER, KVFOLD_QWEN2_TOKENIZER and
# KVFOLD_TEKKEN_TOKENIZER are the tokenizer.json of Llama 3, Qwen 2.5 and Mistral, converted from the vocabularies in the
# Python packages llama-models, dashscope and mistral-common. Exits 2 after one sentence where the demo model or the tokenizer
# of Llama 3 cannot be had; without one of the others, which the sentence names, its tests are skipped.
set -euo pipefail
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/cache.sh
source "$scripts/lib/cache.sh"

# convert FAMILY VOCABULARY: prints the path of the tokenizer.json made from it. The conversion depends on the script: another
# script, another file.
converter="$scripts/tiktoken_to_tokenizer_json.py"
convert() {
  local json made
  json="$kvfold_cache/$1_tokenizer_$(sha256sum "$converter" | cut -c 1-12).json"
  if [[ ! -s $json ]]; then
    made=$(mktemp "$kvfold_cache/.convert.XXXXXX")
    if ! python3 "$converter" --family "$1" "$2" "$made" >&2; then
      rm -f "$made"
      echo "cannot convert $2 to a tokenizer.json" >&2
      exit 2
    fi
    mv "$made" "$json" # a rename: another process sees all of the file or none
  fi
  echo "$json"
}

demo_model=$("$scripts/fetch_demo_model.sh")
gemma3_model=$("$scripts/fetch_gemma3_model.sh") || gemma3_model=
ranks=$(cached_member llama-models 0.3.0 7f77f78ff13fca09f70d76a376aff6414cd901623fb9d57e69c2f8367a73032f \
  llama_models/llama3/tokenizer.model \
  llama3_tokenizer.model 82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55)
llama3=$(convert llama3 "$ranks")
qwen2=$(
  ranks=$(cached_member dashscope 2.0.2 0602d1800f7433bdb7953560986eaf5146454ed3988636c0a91963ba24e74258 \
    dashscope/resources/qwen.tiktoken \
    qwen.tiktoken b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186) && convert qwen2 "$ranks"
) || qwen2=
tekken=$(
  ranks=$(cached_member mistral-common 1.13.1 98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af \
    mistral_common/data/tekken_240911.json \
    tekken_240911.json 1948e2d48b0e7377f1bb5f1210f1ae5f984934e75713fc07e2452729b8365316) && convert tekken "$ranks"
) || tekken=

printf 'export KVFOLD_DEMO_MODEL=%q\n' "$demo_model"
printf 'export KVFOLD_GEMMA3_MODEL=%q\n' "$gemma3_model"
printf 'export KVFOLD_LLAMA3_TOKENIZER=%q\n' "$llama3"
printf 'export KVFOLD_QWEN2_TOKENIZER=%q\n' "$qwen2"
printf 'export KVFOLD_TEKKEN_TOKENIZER=%q\n' "$tekken"
