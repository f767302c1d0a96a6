#include "models/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "models/quoted.h"

namespace kvfold {
namespace {

constexpr std::string_view kWhite = " \t\r\n";
constexpr std::string_view kStructure = "{}[],:";

// The library's names of what it wanted, and ours.
constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kExpected = {{
    {"string literal", "a key in double quotes"},
    {"':'", "\":\""},
    {"'}'", "\",\" or \"}\""},
    {"']'", "\",\" or \"]\""},
    {"end of input", "nothing more"},
    {"'[', '{', or a literal", "a value"},
}};

std::string_view Expected(std::string_view message) {
  constexpr std::string_view kMark = "; expected ";
  const size_t at = message.rfind(kMark);
  if (at != std::string_view::npos) {
    const std::string_view name = message.substr(at + kMark.size());
    for (const auto& [theirs, ours] : kExpected) {
      if (name == theirs) return ours;
    }
  }
  return "a value";
}

// What the library says of a token that it could not read, without the token: "invalid string:
// missing closing quote". Empty where the token itself was in order.
std::string_view LexerComplaint(std::string_view message) {
  const size_t begin = message.find(" - ");
  const size_t end = message.find("; last read: '");
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return {};
  return message.substr(begin + 3, end - begin - 3);
}

// Slips that other languages teach.
std::string_view Hint(std::string_view token, std::string_view before) {
  if (before == "," && (token == "}" || token == "]")) {
    return " (JSON has no comma behind the last one)";
  }
  if (token.starts_with("//") || token.starts_with("/*") || token.starts_with('#')) {
    return " (JSON has no comments)";
  }
  if (token.starts_with('\'')) return " (JSON's strings stand in double quotes)";
  for (const std::string_view number : {"NaN", "nan", "Infinity", "-Infinity", "inf", "-inf"}) {
    if (token == number) return " (JSON has no NaN and no Infinity)";
  }
  for (const std::string_view name : {"True", "False", "None"}) {
    if (token == name) return " (JSON has true, false and null)";
  }
  return "";
}

bool IsTooLarge(std::string_view token) {
  if (token.front() != '-' && (token.front() < '0' || token.front() > '9')) return false;
  return std::isinf(std::strtod(std::string(token).c_str(), nullptr));
}

void SetPlace(JsonProblem& problem, std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const size_t newline = before.rfind('\n');
  const std::string_view on_line =
      newline == std::string_view::npos ? before : before.substr(newline + 1);
  problem.line = 1 + std::ranges::count(before, '\n');
  problem.column = 1 + std::ranges::count_if(on_line, [](char c) {
                     return (static_cast<uint8_t>(c) & 0xC0) != 0x80;
                   });
}

}  // namespace

std::string_view NextJsonToken(std::string_view text, size_t from) {
  const size_t begin = text.find_first_not_of(kWhite, from);
  if (begin == std::string_view::npos) return text.substr(text.size());
  size_t end = begin + 1;
  if (text[begin] == '"') {
    while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
    end = std::min(end + 1, text.size());
  } else if (kStructure.find(text[begin]) == std::string_view::npos) {
    while (end < text.size() && text[end] != '"' &&
           kWhite.find(text[end]) == std::string_view::npos &&
           kStructure.find(text[end]) == std::string_view::npos) {
      ++end;
    }
  }
  return text.substr(begin, end - begin);
}

JsonProblem FindJsonProblem(std::string_view text, const nlohmann::json::exception& error) {
  const auto* const parse_error = dynamic_cast<const nlohmann::json::parse_error*>(&error);
  // The byte that could not be read on; the library also gives up a number beyond a double.
  const size_t failed =
      parse_error != nullptr && parse_error->byte > 0 ? parse_error->byte - 1 : text.size();
  std::string_view before, token;
  size_t begin = 0;
  constexpr size_t kMarkBytes = 3;
  size_t at = text.starts_with("\xEF\xBB\xBF") ? kMarkBytes : 0;
  while (true) {
    token = NextJsonToken(text, at);
    begin = static_cast<size_t>(token.data() - text.data());
    at = begin + token.size();
    if (token.empty()) break;
    if (parse_error != nullptr ? at > failed : IsTooLarge(token)) break;
    before = token;
  }
  const std::string_view message = error.what();
  const std::string_view complaint = LexerComplaint(message);
  if (token.empty() && !complaint.empty() && !before.empty()) {  // the last one is not finished
    token = before;
    begin = static_cast<size_t>(token.data() - text.data());
  }
  JsonProblem problem;
  SetPlace(problem, text, begin);
  if (parse_error == nullptr) {
    problem.why = fmt::format("the number {} is too large", Quoted(token));
  } else if (token.empty()) {
    problem.why = fmt::format("the text ends, expected {}", Expected(message));
  } else if (token.front() == '"' && !complaint.empty()) {
    constexpr std::string_view kInvalid = "invalid string: ";
    std::string_view what = complaint;
    if (what.starts_with(kInvalid)) what.remove_prefix(kInvalid.size());
    if (failed < text.size()) SetPlace(problem, text, failed);
    problem.why = fmt::format("a string that JSON does not allow: {}", what);
  } else {
    problem.why = fmt::format("found {}, expected {}{}", Quoted(token), Expected(message),
                              Hint(token, before));
  }
  return problem;
}

std::string ShownJson(const nlohmann::json& value) {
  if (value.is_string()) return Quoted(value.get_ref<const std::string&>());
  constexpr size_t kMostBytes = 60;
  return CutShort(Printable(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)),
                  kMostBytes);
}

}  // namespace kvfold
