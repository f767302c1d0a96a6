// models/tokenizer/split_regex.h: a compiled regular expression (PCRE2, with its JIT) and the walk
// over its matches in one text.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace kvfold {

class SplitRegex {
 public:
  // `pattern` in PCRE2's syntax, matched as UTF-8. Throws InputError, which begins with `where`.
  SplitRegex(const std::string& pattern, std::string_view where);
  ~SplitRegex();
  SplitRegex(SplitRegex&&) noexcept;
  SplitRegex& operator=(SplitRegex&&) = delete;

 private:
  friend class SplitMatches;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The matches of a regex, leftmost first, none overlapping; as Oniguruma's find_iter, an empty
// match right behind a match is passed over. One object a thread, used for any number of texts.
class SplitMatches {
 public:
  // `most_seconds` of processor time are allowed, and 10 s more for each MiB of text.
  explicit SplitMatches(const SplitRegex& regex, double most_seconds = 10.0);
  ~SplitMatches();
  SplitMatches(const SplitMatches&) = delete;
  SplitMatches& operator=(const SplitMatches&) = delete;

  // Requires: `text` is well-formed UTF-8 and outlives the walk.
  void Start(std::string_view text);
  // False where there is no further match; else [begin, end) in the text. Throws InputError where
  // the match takes more work than kMostWork, or the object's walks more than the time allowed in
  // all: a regular expression that backtracks without end is an attack, or a mistake.
  bool Next(size_t& begin, size_t& end);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvfold
