#include "models/tokenizer/pre_tokenizer.h"

#include <deque>
#include <utility>
#include <variant>

#include "models/tokenizer/unicode_sets.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {

namespace {

struct PrefixSpace {};

// The first number at or behind `from`, one character.
bool FindNumber(std::string_view text, size_t from, size_t& begin, size_t& end) {
  while (from < text.size()) {
    begin = from;
    const char32_t c = NextCodePoint(text, from);
    if (IsNumeric(c)) {
      end = from;
      return true;
    }
  }
  return false;
}

}  // namespace

struct PreTokenizer::Step {
  std::variant<Split, Digits, PrefixSpace> kind;
};

PreTokenizer::PreTokenizer() = default;
PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

void PreTokenizer::Add(Split split) { steps_.push_back({std::move(split)}); }
void PreTokenizer::Add(Digits digits) { steps_.push_back({digits}); }
void PreTokenizer::AddPrefixSpace() {
  adds_prefix_space_ = true;
  steps_.push_back({PrefixSpace{}});
}

struct PreTokenizer::Walker::State {
  std::vector<std::unique_ptr<SplitMatches>> matches;  // by step; null for a step without a regex
  std::deque<std::string> prefixed;                    // pieces that got a space before them
};

PreTokenizer::Walker::Walker(const PreTokenizer& pre_tokenizer)
    : pre_tokenizer_(pre_tokenizer), state_(std::make_unique<State>()) {
  for (const Step& step : pre_tokenizer.steps_) {
    const Split* split = std::get_if<Split>(&step.kind);
    state_->matches.push_back(split == nullptr ? nullptr
                                               : std::make_unique<SplitMatches>(split->regex));
  }
}
PreTokenizer::Walker::~Walker() = default;

void PreTokenizer::Walker::Piece(std::string_view piece, size_t step) {
  if (piece.empty()) return;
  if (step == pre_tokenizer_.steps_.size()) {
    sink_(sink_context_, piece);
    return;
  }
  const auto& kind = pre_tokenizer_.steps_[step].kind;
  if (const Split* split = std::get_if<Split>(&kind)) {
    SplitMatches& matches = *state_->matches[step];
    matches.Start(piece);
    Cut(piece, step, split->behavior, split->invert,
        [&](size_t, size_t& begin, size_t& end) { return matches.Next(begin, end); });
  } else if (const Digits* digits = std::get_if<Digits>(&kind)) {
    Cut(piece, step, digits->individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous,
        false, [&](size_t from, size_t& begin, size_t& end) {
          return FindNumber(piece, from, begin, end);
        });
  } else if (piece.front() == ' ') {
    Piece(piece, step + 1);
  } else {
    Piece(state_->prefixed.emplace_back(" ").append(piece), step + 1);
  }
}

// Cuts `piece` at the spans that `next_match` finds and hands the parts to the step behind `step`.
// Mirrors NormalizedString::split of Hugging Face tokenizers, without the list of spans: `held` is
// the part that the next span may still join.
template <typename Finder>
void PreTokenizer::Walker::Cut(std::string_view piece, size_t step, SplitBehavior behavior,
                               bool invert, Finder&& next_match) {
  size_t held_begin = 0, held_end = 0;
  bool holding = false, held_matches = false;
  const auto flush = [&] {
    if (holding) Piece(piece.substr(held_begin, held_end - held_begin), step + 1);
    holding = false;
  };
  const auto span = [&](size_t begin, size_t end, bool matches) {
    matches = matches != invert;
    bool joins = false;
    switch (behavior) {
      case SplitBehavior::kIsolated:
        Piece(piece.substr(begin, end - begin), step + 1);
        return;
      case SplitBehavior::kRemoved:
        if (!matches) Piece(piece.substr(begin, end - begin), step + 1);
        return;
      case SplitBehavior::kMergedWithPrevious:
        joins = matches && !held_matches;
        break;
      case SplitBehavior::kMergedWithNext:
        joins = held_matches && !matches;
        break;
      case SplitBehavior::kContiguous:
        joins = matches == held_matches;
        break;
    }
    if (!joins) flush();
    if (!holding) held_begin = begin;
    held_end = end;
    holding = true;
    held_matches = matches;
  };
  size_t done = 0, begin = 0, end = 0;
  while (next_match(done, begin, end)) {
    if (begin != done) span(done, begin, false);
    span(begin, end, true);
    done = end;
  }
  if (done != piece.size()) span(done, piece.size(), false);
  flush();
}

}  // namespace kvfold
