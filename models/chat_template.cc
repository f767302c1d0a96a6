#include "models/chat_template.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "models/chat/jinja_evaluator.h"
#include "models/chat/jinja_parser.h"
#include "models/checkpoint/file_kind.h"
#include "models/checkpoint/gguf_file.h"
#include "models/checkpoint/mapped_file.h"
#include "models/checkpoint/model_path.h"
#include "models/json_file.h"
#include "models/quoted.h"
#include "models/tokenizer/folder_tokens.h"
#include "models/tokenizer/utf8.h"

namespace kvfold {
namespace {

constexpr size_t kMostSourceBytes = 1 << 20;
constexpr uint64_t kMostConfigBytes = uint64_t{16} << 20;
constexpr std::string_view kTheWay =
    "give the whole text with --prompt, in the form that the model reads";

class ParsedTemplate : public ChatTemplate {
 public:
  ParsedTemplate(std::vector<jinja::Statement> statements, ChatVariables variables,
                 bool may_read_names)
      : statements_(std::move(statements)),
        variables_(std::move(variables)),
        may_read_names_(may_read_names) {}

  bool MayReadNames() const override { return may_read_names_; }

  std::string Render(std::span<const ChatMessage> messages) const override {
    if (messages.empty()) throw InputError("a conversation has no messages, expected at least one");
    for (size_t i = 0; i < messages.size(); ++i) {
      const ChatMessage& message = messages[i];
      if (message.role != "system" && message.role != "user" && message.role != "assistant") {
        throw InputError(
            fmt::format("message {} has the role {}, expected system, user or assistant", i,
                        Quoted(message.role)));
      }
      const size_t invalid = FindInvalidUtf8(message.content);
      if (invalid != std::string_view::npos) {
        throw InputError(fmt::format("message {} is not UTF-8 at byte {}", i, invalid));
      }
    }
    try {
      return jinja::Render(statements_, messages, variables_);
    } catch (const InputError& error) {
      throw InputError(
          fmt::format("the chat template cannot take this conversation: {}", error.what()));
    }
  }

 private:
  std::vector<jinja::Statement> statements_;
  ChatVariables variables_;
  bool may_read_names_;
};

// Whether a template reads `name` of anything that is not plainly a tool or a function.
bool ReadsNames(std::string_view source) {
  for (const std::string_view access : {".name", "['name']", "[\"name\"]", ".get('name'"}) {
    for (size_t at = source.find(access); at != std::string_view::npos;
         at = source.find(access, at + 1)) {
      const std::string_view before = source.substr(0, at);
      const size_t space = before.find_last_of(" \t\r\n({[+~|'\"");
      const std::string_view owner = before.substr(space == std::string_view::npos ? 0 : space + 1);
      if (!owner.starts_with("tool") && !owner.starts_with("function")) return true;
    }
  }
  return false;
}

struct Source {
  std::string text;
  ChatVariables variables;
};

std::string ReadText(const std::filesystem::path& path) {
  const MappedFile file(path);
  // A template may begin as JSON does, and an empty one is none.
  if (file.size_bytes() > 0) {
    RefuseOtherKinds(file.path(), file.bytes(), FileKind::kJson, "a Jinja template");
  }
  return {file.bytes().begin(), file.bytes().end()};
}

// chat_template of tokenizer_config.json: a string, or a list of named ones of which "default"
// counts. "" where there is none.
std::string TemplateText(const nlohmann::json& config, const std::string& where) {
  if (!config.contains("chat_template") || config["chat_template"].is_null()) return "";
  const nlohmann::json& found = config["chat_template"];
  if (found.is_string()) return found.get<std::string>();
  if (found.is_array()) {
    for (const nlohmann::json& item : found) {
      if (!item.is_object() || item.value("name", nlohmann::json()) != "default") continue;
      const nlohmann::json text = item.value("template", nlohmann::json());
      if (text.is_string()) return text.get<std::string>();
    }
  }
  throw InputError(fmt::format(
      "{}: chat_template is neither a string nor a list with a template named default", where));
}

Source ReadFolder(const std::filesystem::path& folder) {
  Source source;
  std::error_code ignored;
  const std::filesystem::path config_path = folder / "tokenizer_config.json";
  if (std::filesystem::exists(config_path, ignored)) {
    const nlohmann::json config = ReadJsonFile(config_path, kMostConfigBytes);
    if (!config.is_object()) {
      throw InputError(fmt::format("{} is no JSON object", config_path.string()));
    }
    source.text = TemplateText(config, config_path.string());
  }
  // A file of its own comes before the field, as in transformers.
  const std::filesystem::path file = folder / "chat_template.jinja";
  if (std::filesystem::exists(file, ignored)) source.text = ReadText(file);
  for (const auto& [name, token] : ReadFolderTokens(folder).named)
    source.variables.emplace_back(name, token.content);
  return source;
}

Source ReadGguf(const std::filesystem::path& path) {
  const GgufFile file(path);
  Source source;
  source.text = file.String("tokenizer.chat_template", "");
  if (!file.Has("tokenizer.ggml.tokens")) return source;
  const auto& tokens = file.StringArray("tokenizer.ggml.tokens");
  constexpr std::array<std::pair<const char*, const char*>, 7> kNames = {{
      {"bos_token", "bos"},
      {"eos_token", "eos"},
      {"unk_token", "unknown"},
      {"sep_token", "seperator"},  // spelled so in the format
      {"pad_token", "padding"},
      {"cls_token", "cls"},
      {"mask_token", "mask"},
  }};
  for (const auto& [name, key] : kNames) {
    const int64_t id = file.Int(fmt::format("tokenizer.ggml.{}_token_id", key), -1);
    if (id >= 0 && id < static_cast<int64_t>(tokens.size()))
      source.variables.emplace_back(name, tokens[static_cast<size_t>(id)]);
  }
  return source;
}

}  // namespace

std::unique_ptr<ChatTemplate> ChatTemplate::Parse(const std::string& source,
                                                  ChatVariables variables) {
  try {
    if (source.size() > kMostSourceBytes) {
      throw InputError(fmt::format("it is {} bytes long", source.size()));
    }
    for (const auto& [name, text] : variables) {  // a GGUF file's token may be any bytes
      if (FindInvalidUtf8(text) != std::string_view::npos)
        throw InputError(fmt::format("its {} is {}, which is not UTF-8", name, Quoted(text)));
    }
    return std::make_unique<ParsedTemplate>(jinja::Parse(source), std::move(variables),
                                            ReadsNames(source));
  } catch (const InputError& error) {
    throw InputError(
        fmt::format("the chat template cannot be read: {}; {}", error.what(), kTheWay));
  }
}

std::unique_ptr<ChatTemplate> ChatTemplate::Open(const std::filesystem::path& model) {
  Source source = FindModelForm(model) == ModelForm::kFolder ? ReadFolder(model) : ReadGguf(model);
  if (source.text.empty()) {
    throw InputError(fmt::format("{} has no chat template; {}", model.string(), kTheWay));
  }
  try {
    return Parse(source.text, std::move(source.variables));
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", model.string(), error.what()));
  }
}

}  // namespace kvfold
