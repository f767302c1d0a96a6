#include "runtime/jobs/prompt_line.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "comm/error.h"
#include "comm/files/read_file.h"

namespace kvfold {
namespace {

using Json = nlohmann::json;

[[noreturn]] void Refuse(const std::string& field, const Json& found, const char* expected) {
  std::string text = found.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  throw InputError(fmt::format("field \"{}\" is {}, expected {}", field, text, expected));
}

std::string String(const std::string& field, const Json& value) {
  if (!value.is_string()) Refuse(field, value, "a string");
  return value.get<std::string>();
}

int64_t Integer(const std::string& field, const Json& value, int64_t least, int64_t most,
                const char* expected) {
  if (!value.is_number_integer()) Refuse(field, value, expected);
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    Refuse(field, value, expected);
  }
  const auto number = value.get<int64_t>();
  if (number < least || number > most) Refuse(field, value, expected);
  return number;
}

std::vector<ChatMessage> Messages(const Json& value) {
  if (!value.is_array() || value.empty()) Refuse("messages", value, "a list of messages");
  std::vector<ChatMessage> messages;
  for (const Json& entry : value) {
    if (!entry.is_object() || entry.size() != 2 || !entry.contains("role") ||
        !entry.contains("content")) {
      Refuse("messages", entry, "objects of \"role\" and \"content\"");
    }
    ChatMessage message{String("role", entry.at("role")), String("content", entry.at("content"))};
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      Refuse("role", entry.at("role"), "system, user or assistant");
    }
    messages.push_back(std::move(message));
  }
  return messages;
}

std::vector<TokenId> Tokens(const Json& value) {
  if (!value.is_array()) Refuse("tokens", value, "a list of token ids");
  std::vector<TokenId> tokens;
  for (const Json& entry : value) {
    tokens.push_back(static_cast<TokenId>(
        Integer("tokens", entry, 0, std::numeric_limits<TokenId>::max(), "a list of token ids")));
  }
  return tokens;
}

// Throws where a name stands twice in an object, of which a parser would keep either, and where
// values are nested deeper than any field's: what prints them goes down by recursion.
Json ParseObject(std::string_view json) {
  constexpr int kDeepest = 8;
  std::vector<std::set<std::string>> names;  // of the objects that are open
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kDeepest)
      throw InputError(fmt::format("values are nested deeper than {} levels", kDeepest));
    if (event == Json::parse_event_t::object_start) {
      names.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      names.pop_back();
    } else if (event == Json::parse_event_t::key) {
      if (!names.back().insert(parsed.get<std::string>()).second)
        throw InputError(fmt::format("field {} stands there twice", parsed.dump()));
    }
    return true;
  };
  return Json::parse(json, check);
}

}  // namespace

PromptLine ParsePromptLine(std::string_view json, const PromptLine& defaults) {
  Json object;
  try {
    object = ParseObject(json);
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("not a JSON object: {}", error.what()));
  }
  if (!object.is_object()) throw InputError("not a JSON object");
  PromptLine line = defaults;
  for (const auto& [field, value] : object.items()) {
    if (field == "id") {
      line.id = String(field, value);
    } else if (field == "prompt") {
      line.prompt = String(field, value);
    } else if (field == "messages") {
      line.messages = Messages(value);
    } else if (field == "tokens") {
      line.tokens = Tokens(value);
    } else if (field == "document") {
      line.document = String(field, value);
    } else if (field == "max_new_tokens") {
      line.max_new_tokens =
          Integer(field, value, 1, int64_t{1} << 30, "a whole number of at least 1");
    } else if (field == "temperature") {
      if (!value.is_number()) Refuse(field, value, "a number");
      line.sampling.temperature = value.get<double>();
    } else if (field == "seed") {
      line.sampling.seed = static_cast<uint64_t>(Integer(
          field, value, 0, std::numeric_limits<int64_t>::max(), "a whole number of at least 0"));
    } else if (field == "stop") {
      if (!value.is_array()) Refuse(field, value, "a list of strings");
      line.stop.clear();
      for (const Json& entry : value) line.stop.push_back(String(field, entry));
      if (std::ranges::find(line.stop, "") != line.stop.end())
        Refuse(field, value, "strings that are not empty");
    } else {
      throw InputError(fmt::format("unknown field \"{}\"", field));
    }
  }
  if (line.id.empty()) throw InputError("field \"id\" is missing or empty");
  const int given = line.prompt.has_value() + line.messages.has_value() + line.tokens.has_value();
  if (given != 1)
    throw InputError("expected exactly one of the fields \"prompt\", \"messages\" and \"tokens\"");
  CheckSamplingOptions(line.sampling);
  return line;
}

std::string ReadTextFile(const std::string& path, const std::function<void()>& on_wait) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw InputError(fmt::format("{} is a folder, expected a text file", path));
  }
  return ReadFile(path, on_wait);
}

PromptEncoder::PromptEncoder(const Tokenizer* tokenizer, std::string tokenizer_trouble,
                             const ChatTemplate* chat_template, std::string chat_trouble, bool chat)
    : tokenizer_(tokenizer),
      tokenizer_trouble_(std::move(tokenizer_trouble)),
      chat_template_(chat_template),
      chat_trouble_(std::move(chat_trouble)),
      chat_(chat) {}

std::vector<TokenId> PromptEncoder::Encode(const PromptLine& line,
                                           std::string_view document_text) const {
  if (line.tokens) {
    if (!line.document.empty())
      throw InputError("\"document\" cannot be put before \"tokens\": give the tokens of both");
    return *line.tokens;
  }
  if (tokenizer_ == nullptr) throw InputError(tokenizer_trouble_);
  const auto with_document = [&](const std::string& text) {
    return line.document.empty() ? text : fmt::format("{}\n\n{}", document_text, text);
  };
  if (!line.messages && !chat_)
    return tokenizer_->Encode(with_document(*line.prompt), /*add_special=*/true);
  if (chat_template_ == nullptr) throw InputError(chat_trouble_);
  std::vector<ChatMessage> messages =
      line.messages.value_or(std::vector<ChatMessage>{{"user", line.prompt.value_or("")}});
  const auto first_user = std::ranges::find(messages, "user", &ChatMessage::role);
  if (!line.document.empty()) {
    if (first_user == messages.end())
      throw InputError("\"document\" goes before a user message, \"messages\" has none");
    first_user->content = with_document(first_user->content);
  }
  return tokenizer_->Encode(chat_template_->Render(messages), /*add_special=*/false);
}

}  // namespace kvfold
