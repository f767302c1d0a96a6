#include "runtime/jobs/document_groups.h"

#include <algorithm>

#include "runtime/fold/shared_prefix.h"

namespace kvfold {
namespace {

// Tokens that two prompts can fold once.
int64_t Shareable(const PromptTokens& a, const PromptTokens& b, int64_t chunk) {
  const auto shortest = static_cast<int64_t>(std::min(a.size(), b.size()));
  return shortest == 0 ? 0 : ShareableTokens(a.CommonWith(b), shortest, chunk);
}

}  // namespace

std::vector<DocumentGroup> GroupByDocument(std::span<const DocumentPrompt> prompts, int64_t chunk) {
  std::vector<DocumentGroup> groups;
  std::vector<bool> taken(prompts.size(), false);
  for (size_t first = 0; first < prompts.size(); ++first) {
    if (taken[first]) continue;
    DocumentGroup& group = groups.emplace_back(DocumentGroup{.members = {first}});
    if (prompts[first].document.empty()) continue;
    std::vector<int64_t> shared(prompts.size(), 0);
    int64_t most = 0;
    for (size_t i = first + 1; i < prompts.size(); ++i) {
      if (taken[i] || prompts[i].document != prompts[first].document) continue;
      shared[i] = Shareable(*prompts[first].tokens, *prompts[i].tokens, chunk);
      most = std::max(most, shared[i]);
    }
    group.shared_tokens = most;
    for (size_t i = first + 1; i < prompts.size(); ++i) {
      if (shared[i] == 0 || 2 * shared[i] < most) continue;
      taken[i] = true;
      group.members.push_back(i);
      // Of prompts that each share so much with the first, all share the least of it.
      group.shared_tokens = std::min(group.shared_tokens, shared[i]);
    }
  }
  return groups;
}

}  // namespace kvfold
