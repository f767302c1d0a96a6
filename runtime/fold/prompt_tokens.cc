#include "runtime/fold/prompt_tokens.h"

#include <algorithm>

#include "comm/error.h"
#include "runtime/fold/shared_prefix.h"

namespace kvfold {
namespace {

// A run that is shared saves as many ids as it has and costs a part: short ones are not sought.
constexpr size_t kLeastRun = 1024;
// Ids by which a place of the whole is found in another prompt, and how many places are tried.
constexpr size_t kAnchor = 64;
constexpr size_t kAnchors = 16;
// A prompt is cut in two at most so many times, one within the other: what stands before, between
// and behind a few documents is its own.
constexpr int kSplits = 4;

struct Run {
  size_t at = 0;    // in the prompt
  size_t from = 0;  // in the whole
  size_t size = 0;
};

// The longest run about two places where both have the same.
Run Extended(std::span<const TokenId> tokens, std::span<const TokenId> whole, size_t at,
             size_t from) {
  size_t back = 0;
  while (back < at && back < from && tokens[at - back - 1] == whole[from - back - 1]) ++back;
  const int64_t ahead = CommonTokens(tokens.subspan(at), whole.subspan(from));
  return {at - back, from - back, back + static_cast<size_t>(ahead)};
}

Run LongestRun(std::span<const TokenId> tokens, std::span<const TokenId> whole) {
  Run best = Extended(tokens, whole, 0, 0);
  for (size_t i = 0; i < kAnchors && best.size + kLeastRun < tokens.size(); ++i) {
    const size_t from = whole.size() * i / kAnchors;
    if (whole.size() - from < kAnchor) break;
    const auto anchor = whole.subspan(from, kAnchor);
    const auto found = std::search(tokens.begin(), tokens.end(), anchor.begin(), anchor.end());
    if (found == tokens.end()) continue;
    const Run run = Extended(tokens, whole, static_cast<size_t>(found - tokens.begin()), from);
    if (run.size > best.size) best = run;
  }
  return best;
}

}  // namespace

PromptTokens::PromptTokens(std::vector<TokenId> tokens) : own_(std::move(tokens)) {
  if (!own_.empty()) parts_.push_back({false, 0, 0, own_.size()});
  size_ = own_.size();
}

PromptTokens PromptTokens::Sharing(std::span<const TokenId> tokens, Whole whole) {
  PromptTokens prompt;
  prompt.whole_ = std::move(whole);
  prompt.Cover(tokens, kSplits);
  prompt.own_.shrink_to_fit();
  if (prompt.own_.size() == prompt.size_) prompt.whole_.reset();
  return prompt;
}

void PromptTokens::Cover(std::span<const TokenId> tokens, int more_splits) {
  if (tokens.empty()) return;
  Run run;
  if (more_splits > 0 && tokens.size() >= kLeastRun) run = LongestRun(tokens, *whole_);
  if (run.size < kLeastRun) {
    const size_t from = own_.size();
    own_.insert(own_.end(), tokens.begin(), tokens.end());
    Add(false, from, tokens.size());
    return;
  }
  Cover(tokens.first(run.at), more_splits - 1);
  Add(true, run.from, run.size);
  Cover(tokens.subspan(run.at + run.size), more_splits - 1);
}

void PromptTokens::Add(bool is_shared, size_t from, size_t n_tokens) {
  parts_.push_back({is_shared, from, size_, size_ + n_tokens});
  size_ += n_tokens;
}

std::span<const TokenId> PromptTokens::RowAt(size_t at) const {
  const auto part = std::ranges::upper_bound(parts_, at, {}, &Part::end);
  if (part == parts_.end()) return {};
  const std::span<const TokenId> of = part->is_shared ? std::span(*whole_) : std::span(own_);
  return of.subspan(part->from + (at - part->begin), part->end - at);
}

TokenId PromptTokens::operator[](size_t i) const {
  KVFOLD_CHECK(i < size_, "i", i, "size", size_);
  return RowAt(i).front();
}

std::vector<TokenId> PromptTokens::Slice(size_t begin, size_t end) const {
  KVFOLD_CHECK(begin <= end && end <= size_, "begin", begin, "end", end, "size", size_);
  std::vector<TokenId> tokens;
  tokens.reserve(end - begin);
  while (begin < end) {
    const std::span<const TokenId> row = RowAt(begin);
    const std::span<const TokenId> wanted = row.first(std::min(row.size(), end - begin));
    tokens.insert(tokens.end(), wanted.begin(), wanted.end());
    begin += wanted.size();
  }
  return tokens;
}

int64_t PromptTokens::CommonWith(const PromptTokens& other) const {
  size_t common = 0;
  while (true) {
    const std::span<const TokenId> mine = RowAt(common), theirs = other.RowAt(common);
    const size_t n = std::min(mine.size(), theirs.size());
    if (n == 0) return static_cast<int64_t>(common);
    const auto same = mine.data() == theirs.data() ? static_cast<int64_t>(n)
                                                   : CommonTokens(mine.first(n), theirs.first(n));
    common += static_cast<size_t>(same);
    if (same < static_cast<int64_t>(n)) return static_cast<int64_t>(common);
  }
}

}  // namespace kvfold
