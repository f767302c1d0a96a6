#include "models/tokenizer/split_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <time.h>

#include <array>
#include <new>

#include "comm/error.h"
#include "models/quoted.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

// PCRE2's match limit, for one place to begin a match at.
constexpr uint32_t kMostWork = 50'000'000;
// Of processor time; ordinary expressions take a hundredth of it.
constexpr double kMostSecondsPerByte = 10.0 / (1 << 20);
constexpr size_t kFirstWindow = 16;
constexpr uint32_t kMatchesPerCheck = 64;
constexpr uint32_t kMostHeapKibibytes = 256 * 1024;  // where the JIT's stack was too small
constexpr size_t kMostJitStackBytes = 4 << 20;

struct FreePcre2 {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, FreePcre2>;

template <typename T>
Owned<T> Own(T* made) {
  if (made == nullptr) throw std::bad_alloc();
  return Owned<T>(made);
}

double ThreadSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::string Message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct SplitRegex::Impl {
  Owned<pcre2_code> code;
  std::string where;
  std::string pattern;
};

SplitRegex::SplitRegex(const std::string& pattern, std::string_view where)
    : impl_(std::make_unique<Impl>()) {
  const auto context = Own(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_max_pattern_length(context.get(), 1 << 20);
  int code = 0;
  PCRE2_SIZE offset = 0;
  impl_->where = where;
  impl_->pattern = pattern;
  impl_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_USE_OFFSET_LIMIT, &code, &offset,
                                  context.get()));
  if (impl_->code == nullptr) {
    throw InputError(
        fmt::format("{}: the regular expression {} cannot be compiled: {} at offset {}", where,
                    Quoted(pattern), Message(code), offset));
  }
  // Without a JIT on this processor, or room for its code, PCRE2 interprets: slower, and the same.
  pcre2_jit_compile(impl_->code.get(), PCRE2_JIT_COMPLETE);
}
SplitRegex::~SplitRegex() = default;
SplitRegex::SplitRegex(SplitRegex&&) noexcept = default;

struct SplitMatches::Impl {
  const SplitRegex::Impl* regex = nullptr;
  Owned<pcre2_match_data> match;
  Owned<pcre2_match_context> context;
  Owned<pcre2_jit_stack> jit_stack;  // made when the default one was too small
  std::string_view text;
  size_t from = 0;
  size_t last_end = std::string_view::npos;
  size_t all_bytes = 0;  // of the texts so far
  double most_seconds = 0.0;
  uint32_t n_matches = 0;
  double begun_seconds = -1.0;  // when the clock was first looked at

  int Match(size_t at, uint32_t options) const {
    return pcre2_match(regex->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                       at, options | PCRE2_NO_UTF_CHECK, match.get(), context.get());
  }
  int MatchWithStack(size_t at);
  int Search();
  void CheckTime();
};

void SplitMatches::Impl::CheckTime() {
  const double now = ThreadSeconds();
  if (begun_seconds < 0) begun_seconds = now;
  const double most = most_seconds + kMostSecondsPerByte * static_cast<double>(all_bytes);
  if (now - begun_seconds > most) {
    throw InputError(
        fmt::format("{}: the regular expression {} takes more than {:.0f} s "
                    "for {} bytes of text",
                    regex->where, Quoted(regex->pattern), most, all_bytes));
  }
}

int SplitMatches::Impl::MatchWithStack(size_t at) {
  int code = Match(at, 0);
  if (code == PCRE2_ERROR_JIT_STACKLIMIT && jit_stack == nullptr) {
    jit_stack = Own(pcre2_jit_stack_create(64 << 10, kMostJitStackBytes, nullptr));
    pcre2_jit_stack_assign(context.get(), nullptr, jit_stack.get());
    code = Match(at, 0);
  }
  return code == PCRE2_ERROR_JIT_STACKLIMIT ? Match(at, PCRE2_NO_JIT) : code;
}

// The first match from `from` on, in windows of places to begin at, each twice as wide as the one
// before: PCRE2's limit counts anew at every place, so that only between two windows can an
// expression be stopped that takes long at each of them.
int SplitMatches::Impl::Search() {
  size_t at = from;
  for (size_t window = kFirstWindow;; window *= 2) {
    const bool is_last = text.size() - at <= window;
    size_t next = is_last ? text.size() : at + window;
    while (next < text.size() && (static_cast<uint8_t>(text[next]) & 0xC0) == 0x80) ++next;
    pcre2_set_offset_limit(context.get(), is_last ? PCRE2_UNSET : next - 1);
    const int code = MatchWithStack(at);
    if (code != PCRE2_ERROR_NOMATCH || is_last) return code;
    at = next;
    CheckTime();
  }
}

SplitMatches::SplitMatches(const SplitRegex& regex, double most_seconds)
    : impl_(std::make_unique<Impl>()) {
  impl_->most_seconds = most_seconds;
  impl_->regex = regex.impl_.get();
  impl_->match = Own(pcre2_match_data_create(1, nullptr));
  impl_->context = Own(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(impl_->context.get(), kMostWork);
  pcre2_set_heap_limit(impl_->context.get(), kMostHeapKibibytes);
}
SplitMatches::~SplitMatches() = default;

void SplitMatches::Start(std::string_view text) {
  impl_->text = text;
  impl_->all_bytes += text.size();
  impl_->from = 0;
  impl_->last_end = std::string_view::npos;
}

bool SplitMatches::Next(size_t& begin, size_t& end) {
  Impl& state = *impl_;
  while (state.from <= state.text.size()) {
    if (++state.n_matches % kMatchesPerCheck == 0) state.CheckTime();
    const int code = state.Search();
    if (code == PCRE2_ERROR_NOMATCH) return false;
    if (code < 0) {
      throw InputError(fmt::format(
          "{}: the regular expression {} cannot be matched from byte {} of a text of {} bytes: {}",
          state.regex->where, Quoted(state.regex->pattern), state.from, state.text.size(),
          Message(code)));
    }
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(state.match.get());
    begin = found[0];
    end = found[1];
    if (begin != end || end != state.last_end) {
      state.from = end;
      state.last_end = end;
      return true;
    }
    if (state.from == state.text.size()) return false;
    NextCodePoint(state.text, state.from);
  }
  return false;
}

}  // namespace kvfold
