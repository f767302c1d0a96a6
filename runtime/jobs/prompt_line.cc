#include "runtime/jobs/prompt_line.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "comm/error.h"
#include "comm/files/read_file.h"
#include "models/json_field.h"
#include "models/json_file.h"
#include "models/json_text.h"
#include "models/quoted.h"
#include "runtime/jobs/request_fields.h"

namespace kvfold {
namespace {

using Json = nlohmann::json;

JsonField Field(std::string_view name, const Json& value) {
  return {value, fmt::format("field {}", Quoted(name))};
}

[[noreturn]] void Refuse(std::string_view field, const Json& found, std::string_view expected) {
  Field(field, found).Wrong(expected);
}

// Whole numbers, also where they are written as 2.0 (as tables that know no integers write them).
std::optional<int64_t> WholeNumber(const Json& value) {
  if (value.is_number_float()) {
    constexpr double kExact = 9007199254740992.0;  // 2^53: every whole number up to it is a double
    const auto number = value.get<double>();
    if (!(std::abs(number) <= kExact) || number != std::floor(number)) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return std::nullopt;
  }
  return value.get<int64_t>();
}

int64_t Integer(std::string_view field, const Json& value, int64_t least, int64_t most,
                std::string_view expected) {
  const std::optional<int64_t> number = WholeNumber(value);
  if (!number || *number < least || *number > most) Refuse(field, value, expected);
  return *number;
}

// The text of an id: a number and the same digits as a string are one id. Empty where it is none.
std::string IdText(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  const std::optional<int64_t> number = WholeNumber(value);
  return number ? std::to_string(*number) : std::string();
}

// A message's content: a string, or parts of text, which are joined by a space as transformers'
// server joins them before a template of a text model sees them.
std::string Content(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) Refuse("content", value, "a string or a list of parts");
  std::string text;
  for (const Json& part : value) {
    if (!part.is_object() || !part.contains("type"))
      Refuse("content", part, "parts such as {\"type\": \"text\", \"text\": \"...\"}");
    if (part.at("type") != "text")
      Refuse("type", part.at("type"), "\"text\": only text is read of a message's content");
    for (const auto& [key, found] : part.items()) {
      if (key != "type" && key != "text" && !found.is_null())
        throw InputError(fmt::format("unknown field {} of a part of \"content\"", Quoted(key)));
    }
    if (!part.contains("text")) Refuse("content", part, "a part of type text with a \"text\"");
    if (&part != &value.front()) text += ' ';
    text += Field("text", part.at("text")).String();
  }
  return text;
}

ChatMessage Message(const Json& entry, PromptLine& line) {
  const auto given = [&](const char* key) {
    return entry.is_object() && entry.contains(key) && !entry.at(key).is_null();
  };
  if (!given("role") || !given("content"))
    Refuse("messages", entry, "objects of \"role\" and \"content\"");
  for (const auto& [key, value] : entry.items()) {
    if (key == "role" || key == "content" || value.is_null()) continue;
    if (key == "name") {
      line.name = Field("name", value).String();
    } else if (key != "tool_calls" || value != Json::array()) {
      throw InputError(
          fmt::format("field {} of \"messages\" is {}, which is not supported, expected objects of "
                      "\"role\" and \"content\"",
                      Quoted(key), ShownJson(value)));
    }
  }
  ChatMessage message{Field("role", entry.at("role")).String(), Content(entry.at("content"))};
  if (message.role == "developer") message.role = "system";
  if (message.role != "system" && message.role != "user" && message.role != "assistant")
    Refuse("role", entry.at("role"), "system, developer, user or assistant");
  return message;
}

std::vector<TokenId> Tokens(std::string_view field, const Json& value) {
  if (!value.is_array()) Refuse(field, value, "a list of token ids");
  std::vector<TokenId> tokens;
  tokens.reserve(value.size());
  for (const Json& entry : value) {
    tokens.push_back(static_cast<TokenId>(
        Integer(field, entry, 0, std::numeric_limits<TokenId>::max(), "a list of token ids")));
  }
  return tokens;
}

// Which fields have set what two names may set, so that they can be held against each other.
struct Seen {
  const char* id = nullptr;
  const char* max_new_tokens = nullptr;
};

template <typename T>
void SetOnce(const char*& seen, const char* field, T& place, T value, const std::string& shown) {
  if (seen != nullptr && place != value) {
    throw InputError(fmt::format("fields \"{}\" and \"{}\" differ, expected one of them (found {})",
                                 seen, field, shown));
  }
  seen = field;
  place = std::move(value);
}

constexpr std::array<const char*, 3> kMaxNewTokens = {"max_new_tokens", "max_tokens",
                                                      "max_completion_tokens"};

void SetId(PromptLine& line, Seen& seen, const char* field, const Json& value) {
  std::string id = IdText(value);
  if (id.empty()) Refuse(field, value, "a string that is not empty, or a whole number");
  SetOnce(seen.id, field, line.id, std::move(id), ShownJson(value));
}

// A field of a line, or of the body of one; not null.
void SetField(PromptLine& line, Seen& seen, const std::string& field, const Json& value) {
  const auto* const limit = std::ranges::find(kMaxNewTokens, field);
  if (limit != kMaxNewTokens.end()) {
    const int64_t most = Integer(field, value, 1, int64_t{1} << 30, "a whole number of at least 1");
    SetOnce(seen.max_new_tokens, *limit, line.max_new_tokens, most, ShownJson(value));
  } else if (field == "prompt") {
    // Other tools take token ids here, too, and a list of prompts, of which a line has one.
    const bool is_list = value.is_array() && !value.empty();
    if (is_list && value.front().is_number()) {
      line.tokens = Tokens(field, value);
    } else {
      line.prompt = is_list && value.size() == 1 ? Field(field, value.front()).String()
                                                 : Field(field, value).String();
    }
  } else if (field == "messages") {
    if (!value.is_array() || value.empty()) Refuse(field, value, "a list of messages");
    std::vector<ChatMessage>& messages = line.messages.emplace();
    for (const Json& entry : value) messages.push_back(Message(entry, line));
  } else if (field == "tokens") {
    line.tokens = Tokens(field, value);
  } else if (field == "document") {
    line.document = Field(field, value).String();
    if (line.document.find('\0') != std::string::npos)
      Refuse(field, value, "a path, which holds no zero byte");
  } else if (field == "temperature") {
    line.sampling.temperature = Field(field, value).Number();
  } else if (field == "top_p") {
    line.sampling.top_p = Field(field, value).Number();
  } else if (field == "top_k") {
    // -1 is how other tools write "all".
    const int64_t most = std::numeric_limits<int64_t>::max();
    line.sampling.top_k = std::max<int64_t>(
        0, Integer(field, value, -1, most, "a whole number of at least 0 (0 or -1: all)"));
  } else if (field == "seed") {
    constexpr std::string_view kRange = "a whole number from 0 to 18446744073709551615";
    line.sampling.seed = value.is_number_unsigned()
                             ? value.get<uint64_t>()
                             : static_cast<uint64_t>(Integer(
                                   field, value, 0, std::numeric_limits<int64_t>::max(), kRange));
  } else if (field == "stop") {
    if (!value.is_array() && !value.is_string()) Refuse(field, value, "a string or a list of them");
    line.stop.clear();
    for (const Json& entry : value.is_array() ? value : Json::array({value}))
      line.stop.push_back(Field(field, entry).String());
    if (std::ranges::find(line.stop, "") != line.stop.end())
      Refuse(field, value, "strings that are not empty");
  } else {
    CheckForeignField(field, value);
  }
}

// {"custom_id", "method", "url", "body"}: the lines of OpenAI's batches.
void SetEnvelope(PromptLine& line, Seen& seen, const Json& object) {
  std::string url;
  for (const auto& [field, value] : object.items()) {
    if (value.is_null() || field == "body") continue;
    if (field == "id") {
      SetId(line, seen, "id", value);
    } else if (field == "custom_id") {
      SetId(line, seen, "custom_id", value);
    } else if (field == "method") {
      if (value != "POST") Refuse(field, value, "\"POST\"");
    } else if (field == "url") {
      url = Field(field, value).String();
      if (url != "/v1/chat/completions" && url != "/v1/completions")
        Refuse(field, value, "\"/v1/chat/completions\" or \"/v1/completions\"");
    } else {
      throw InputError(fmt::format("unknown field {} beside \"body\"", Quoted(field)));
    }
  }
  if (!object.contains("body")) throw InputError("field \"body\" is missing, expected an object");
  const Json& body = object.at("body");
  if (!body.is_object()) Refuse("body", body, "an object");
  for (const auto& [field, value] : body.items()) {
    if (!value.is_null()) SetField(line, seen, field, value);
  }
  const bool is_chat = url == "/v1/chat/completions";
  if (!url.empty() && is_chat != line.messages.has_value()) {
    throw InputError(fmt::format("field \"url\" is {}, expected \"{}\" in \"body\"", Quoted(url),
                                 is_chat ? "messages" : "prompt"));
  }
}

Json ParseObject(std::string_view line, std::string_view json) {
  try {
    Json object = ParseStrictJson(json);
    if (!object.is_object()) {
      throw InputError(fmt::format("not a JSON object: found {}, expected one object a line",
                                   ShownJson(object)));
    }
    return object;
  } catch (const Json::exception& error) {
    const JsonProblem problem = FindJsonProblem(json, error);
    const auto skipped = std::count_if(
        line.data(), json.data(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
    throw InputError(
        fmt::format("not a JSON object: column {}: {}", problem.column + skipped, problem.why));
  }
}

}  // namespace

std::string_view PromptLineText(std::string_view line) {
  // What editors, spreadsheets and torn disks leave there; none of it can be part of JSON.
  constexpr std::array<std::string_view, 11> kAround = {
      " ",        "\t",      "\r", "\n", "\v", "\f", "\xEF\xBB\xBF", "\xE2\x80\xA8", "\xE2\x80\xA9",
      "\xC2\x85", "\xC2\xA0"};
  const auto strip = [&](auto&& ends, auto&& remove) {
    while (true) {
      const auto* const found = std::ranges::find_if(kAround, ends);
      if (found == kAround.end()) return;
      remove(found->size());
    }
  };
  strip([&](std::string_view s) { return line.starts_with(s); },
        [&](size_t n) { line.remove_prefix(n); });
  if (line.find_first_not_of('\0') != std::string_view::npos)
    line = line.substr(0, line.find_last_not_of('\0') + 1);
  strip([&](std::string_view s) { return line.ends_with(s); },
        [&](size_t n) { line.remove_suffix(n); });
  return line;
}

std::string PromptLineId(std::string_view line) {
  int depth = 0;
  std::array<std::string_view, 3> last;  // the tokens before, the newest at the end
  size_t at = 0;
  while (true) {
    const std::string_view token = NextJsonToken(line, at);
    if (token.empty()) return "";
    at = static_cast<size_t>(token.data() - line.data()) + token.size();
    const bool is_key = last[1] == "\"id\"" || last[1] == "\"custom_id\"";
    if (depth == 1 && last[2] == ":" && is_key && (last[0] == "{" || last[0] == ",")) {
      const Json value = Json::parse(token, nullptr, /*allow_exceptions=*/false);
      return value.is_discarded() ? "" : IdText(value);
    }
    if (token == "{" || token == "[") ++depth;
    if (token == "}" || token == "]") --depth;
    last = {last[1], last[2], token};
  }
}

PromptLine ParsePromptLine(std::string_view text, const PromptLine& defaults) {
  const std::string_view json = PromptLineText(text);
  // The parser would take a zero byte for the end of the text.
  if (json.find('\0') != std::string_view::npos) {
    throw InputError(fmt::format("not a JSON object: {} of its {} bytes are zero",
                                 std::ranges::count(json, '\0'), json.size()));
  }
  const Json object = ParseObject(text, json);
  PromptLine line = defaults;
  Seen seen;
  if (object.contains("body") || object.contains("url") || object.contains("method")) {
    SetEnvelope(line, seen, object);
  } else {
    for (const auto& [field, value] : object.items()) {
      if (value.is_null()) continue;
      if (field == "id") {
        SetId(line, seen, "id", value);
      } else if (field == "custom_id") {
        SetId(line, seen, "custom_id", value);
      } else {
        SetField(line, seen, field, value);
      }
    }
  }
  if (seen.id == nullptr) throw InputError("field \"id\" is missing or empty");
  const int given = line.prompt.has_value() + line.messages.has_value() + line.tokens.has_value();
  if (given != 1)
    throw InputError("expected exactly one of the fields \"prompt\", \"messages\" and \"tokens\"");
  CheckSamplingOptions(line.sampling);
  return line;
}

}  // namespace kvfold
