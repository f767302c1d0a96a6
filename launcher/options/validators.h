// launcher/options/validators.h: how options of the command line are checked as they are parsed.
// Included by the .cc files that add options, and by nobody else: CLI11 is slow to compile.
#pragma once

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/quoted.h"

namespace kvfold {

// Validators that leave the help's first column to the type's name. Those of numbers read the text
// as it was given, before it is converted: what does not fit its type would become another number,
// and what follows a number would be dropped.

// The whole of `text` as a number, if that is what it is and its type holds it.
template <typename Number>
std::optional<Number> ParseWhole(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename Number>
CLI::Validator Between(Number least, Number most) {
  return CLI::Validator(
      [least, most](const std::string& text) -> std::string {
        const std::optional<Number> value = ParseWhole<Number>(text);
        if (value && *value >= least && *value <= most) return {};
        return fmt::format("{} is not a whole number from {} to {}", Quoted(text), least, most);
      },
      "");
}

// A finite number for which `fits` holds; `expected` says which those are.
inline CLI::Validator FiniteNumber(bool (*fits)(double), const char* expected) {
  return CLI::Validator(
      [fits, expected](const std::string& text) -> std::string {
        const std::optional<double> value = ParseWhole<double>(text);
        if (value && std::isfinite(*value) && fits(*value)) return {};
        return fmt::format("{} is not a number {}", Quoted(text), expected);
      },
      "");
}

// An option of one of several words, each of which stands for a value. The first is the default,
// and must be what `value` holds, unless `has_default` is false: then nothing is said of one.
template <typename Value>
CLI::Option* AddChoice(CLI::App& app, const std::string& name, Value& value,
                       std::vector<std::pair<std::string, Value>> choices, const std::string& help,
                       bool has_default = true) {
  std::vector<std::string> words;
  for (const auto& choice : choices) words.push_back(choice.first);
  const std::string first = words.front();
  CLI::Option* const option =
      app.add_option_function<std::string>(
             name,
             [&value, choices = std::move(choices)](const std::string& word) {
               value =
                   std::ranges::find(choices, word, &std::pair<std::string, Value>::first)->second;
             },
             help)
          ->check(CLI::IsMember(words).description(fmt::format("{}", fmt::join(words, "|"))));
  if (has_default) option->default_str(first);
  return option;
}

// Refuses a command line without any of these.
inline void RequireOneOf(CLI::App& app, const std::vector<CLI::Option*>& options,
                         const std::string& names) {
  app.parse_complete_callback([&app, options, names] {
    if (app.remaining_size() > 0) return;  // perhaps a slip of the pen, which is named next
    const bool given =
        std::ranges::any_of(options, [](const CLI::Option* option) { return option->count() > 0; });
    if (!given) throw CLI::RequiredError(names);
  });
}

}  // namespace kvfold
