// models/tokenizer/pre_tokenizer.h: a text cut into the words that byte pair encoding never joins.
// Steps follow each other, each on the pieces of the one before, as Hugging Face tokenizers'
// pre_tokenizers::Sequence has them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer/split_regex.h"

namespace kvfold {

// What becomes of the spans that match and those between them.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

// The regular expression of GPT-2, that ByteLevel has built in, as Hugging Face writes it.
inline constexpr std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class PreTokenizer {
 public:
  struct Split {  // pre_tokenizers::Split
    SplitRegex regex;
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;  // what matches counts as what does not, and the other way round
  };
  struct Digits {  // pre_tokenizers::Digits
    bool individual = false;
  };

  PreTokenizer();
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  void Add(Split split);
  void Add(Digits digits);
  // From here on, a space goes before each piece that does not begin with one.
  void AddPrefixSpace();
  bool adds_prefix_space() const { return adds_prefix_space_; }

  // The words of one text after another. One walker a thread; the pre-tokenizer outlives it.
  class Walker {
   public:
    explicit Walker(const PreTokenizer& pre_tokenizer);
    ~Walker();
    // Calls word(view) for each word in order, none empty. Views are into `text`, or into memory of
    // the walker that stays as it is as long as the walker lives. Requires: well-formed UTF-8.
    // Throws InputError as SplitMatches::Next does.
    template <typename Word>
    void Walk(std::string_view text, Word&& word) {
      sink_ = [](void* context, std::string_view found) {
        (*static_cast<std::remove_reference_t<Word>*>(context))(found);
      };
      sink_context_ = const_cast<void*>(static_cast<const void*>(&word));
      Piece(text, 0);
    }

   private:
    struct State;
    void Piece(std::string_view piece, size_t step);
    template <typename Finder>
    void Cut(std::string_view piece, size_t step, SplitBehavior behavior, bool invert,
             Finder&& next_match);

    const PreTokenizer& pre_tokenizer_;
    void (*sink_)(void*, std::string_view) = nullptr;
    void* sink_context_ = nullptr;
    std::unique_ptr<State> state_;
  };

 private:
  struct Step;
  std::vector<Step> steps_;
  bool adds_prefix_space_ = false;
};

}  // namespace kvfold
