#include "runtime/jobs/result_record.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace kvfold {
namespace {

using Json = nlohmann::ordered_json;

Json CompletionObject(const Completion& completion, const std::string& transport) {
  return {{"text", completion.text},
          {"tokens", completion.tokens},
          {"prompt_tokens", completion.prompt_tokens},
          {"new_tokens", completion.tokens.size()},
          {"finish_reason", completion.finish_reason},
          {"timings",
           {{"fold_s", completion.fold_s},
            {"decode_s", completion.decode_s},
            {"chunks", completion.chunks}}},
          {"transport", transport}};
}

const char* CodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kBadInput:
      return "bad_input";
    case ErrorCode::kDoesNotFit:
      return "does_not_fit";
    default:
      return "failed";
  }
}

std::string Text(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool HasString(const Json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string();
}

// Notes where a text stops being JSON; keeps nothing of it.
struct JsonEnd : nlohmann::json_sax<Json> {
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    characters_read = position;
    return false;
  }
  std::size_t characters_read = 0;  // the one that does not fit among them
};

// JSON so far, cut before its end: the first character that does not fit is the one after the last.
bool IsCutJson(std::string_view text) {
  JsonEnd end;
  return !Json::sax_parse(text, &end) && end.characters_read > text.size();
}

}  // namespace

std::string CompletionJson(const Completion& completion, const std::string& transport) {
  return Text(CompletionObject(completion, transport));
}

std::string CompletionRecord(const std::string& id, const std::string& key,
                             const Completion& completion, const std::string& transport) {
  Json record = {{"id", id}, {"key", key}};
  record.update(CompletionObject(completion, transport));
  return Text(record);
}

std::string ErrorRecord(const std::string& id, const std::string& key, const Error& error) {
  const Json record = {{"id", id},
                       {"key", key},
                       {"error", {{"code", CodeName(error.code())}, {"message", error.what()}}}};
  return Text(record);
}

std::optional<KnownRecord> ReadRecord(std::string_view line) {
  const Json record = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!record.is_object() || !HasString(record, "id") || !HasString(record, "key"))
    return std::nullopt;
  const auto error = record.find("error");
  if (error != record.end()) {
    if (!error->is_object() || !HasString(*error, "code") || !HasString(*error, "message"))
      return std::nullopt;
  } else {
    const auto tokens = record.find("tokens");
    if (!HasString(record, "text") || !HasString(record, "finish_reason") ||
        tokens == record.end() || !tokens->is_array()) {
      return std::nullopt;
    }
  }
  return KnownRecord{record["id"].get<std::string>(), record["key"].get<std::string>(),
                     error != record.end()};
}

bool IsTornRecord(std::string_view text) {
  if (!IsCutJson(text)) return false;
  std::string_view rest = text;
  // Takes `literal`, or what of it is there.
  const auto take = [&](std::string_view literal) {
    const size_t n = std::min(literal.size(), rest.size());
    if (rest.substr(0, n) != literal.substr(0, n)) return false;
    rest.remove_prefix(n);
    return true;
  };
  // To the end of a string whose opening quote has been taken, which IsCutJson has found sound.
  const auto take_string = [&] {
    while (!rest.empty() && rest.front() != '"')
      rest.remove_prefix(rest.front() == '\\' ? std::min<size_t>(2, rest.size()) : 1);
  };
  if (!take(R"({"id":")")) return false;
  take_string();
  if (!take(R"(","key":")")) return false;
  take_string();
  const std::string_view here = rest;
  if (take(R"(","text":")")) return true;
  rest = here;
  return take(R"(","error":{"code":")");
}

bool HoldsKey(std::string_view torn_record) {
  constexpr std::string_view kBeforeKey = R"(","key":")";  // within an id its quotes are escaped
  constexpr size_t kKeyDigits = 32;
  const size_t at = torn_record.find(kBeforeKey);
  if (at == std::string_view::npos) return false;
  const std::string_view rest = torn_record.substr(at + kBeforeKey.size());
  return rest.size() > kKeyDigits && rest.find_first_not_of("0123456789abcdef") == kKeyDigits &&
         rest[kKeyDigits] == '"';
}

}  // namespace kvfold
