// runtime/jobs/document_groups.h: which requests of a batch are taken together, since they begin
// with the same document.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/fold/prompt_tokens.h"

namespace kvfold {

struct DocumentPrompt {
  std::string document;                  // what names it and its bytes; empty: none
  const PromptTokens* tokens = nullptr;  // borrowed
};

struct DocumentGroup {
  std::vector<size_t> members;  // rising places in the batch
  int64_t shared_tokens = 0;    // whole chunks that all of them begin with, folded once
};

// Every prompt is in one group; groups come in the order of their first members. Those of one
// document are together where they share at least half of the chunks that the first of them shares
// with any: different questions on a document are, different system messages before it are not.
// Requires chunk >= 1.
std::vector<DocumentGroup> GroupByDocument(std::span<const DocumentPrompt> prompts, int64_t chunk);

}  // namespace kvfold
