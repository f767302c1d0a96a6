#include "models/config_refusals.h"

#include <algorithm>
#include <span>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

constexpr size_t kMostListed = 24;  // a hostile file could have a million

std::string Joined(std::span<const std::string> texts, std::string_view separator) {
  std::string text =
      fmt::format("{}", fmt::join(texts.first(std::min(texts.size(), kMostListed)), separator));
  if (texts.size() > kMostListed) text += fmt::format(" and {} more", texts.size() - kMostListed);
  return text;
}

// As it can be typed: quoted only where a shell would take it apart.
std::string Typed(const std::string& key) {
  const bool is_plain = std::ranges::all_of(key, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  });
  return is_plain ? key : Quoted(key);
}

}  // namespace

bool ConfigRefusals::IsIgnored(std::string_view key) const {
  return std::ranges::find(options_.ignored_keys, key) != options_.ignored_keys.end();
}

void ConfigRefusals::AddIgnorable(std::string_view key, std::string clause) {
  if (IsIgnored(key)) return;
  clauses_.push_back(std::move(clause));
  ignorable_keys_.push_back(Typed(std::string(key)));
}

void ConfigRefusals::AddUnknown(std::string_view key, std::string clause) {
  if (IsIgnored(key)) return;
  unknown_.push_back(std::move(clause));
  ignorable_keys_.push_back(Typed(std::string(key)));
}

void ConfigRefusals::ThrowIfAny(const std::string& file) const {
  if (clauses_.empty() && unknown_.empty()) return;
  std::vector<std::string> clauses = clauses_;
  if (!unknown_.empty()) {
    clauses.push_back(fmt::format("{}, which {} not supported", Joined(unknown_, ", "),
                                  unknown_.size() == 1 ? "is" : "are"));
  }
  std::string sentence = fmt::format("{}: {}", file, Joined(clauses, "; "));
  if (!ignorable_keys_.empty()) {
    sentence +=
        fmt::format(" (--ignore-config {} goes on without {})", Joined(ignorable_keys_, " "),
                    ignorable_keys_.size() == 1 ? "it" : "them");
  }
  throw InputError(sentence);
}

}  // namespace kvfold
