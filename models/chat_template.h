// models/chat_template.h: conversations rendered as a model was trained to read them, by the Jinja
// template that the model brings. Rendered as transformers' apply_chat_template does, or refused by
// name, never approximated.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kvfold {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// What a template may name beside the conversation: "bos_token" and the like, each once.
using ChatVariables = std::vector<std::pair<std::string, std::string>>;

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // The template of a Hugging Face folder (chat_template.jinja, else tokenizer_config.json) or a
  // .gguf file. Throws InputError saying that the template is missing or cannot be read, and that
  // --prompt is the way.
  static std::unique_ptr<ChatTemplate> Open(const std::filesystem::path& model);
  // From the Jinja source.
  static std::unique_ptr<ChatTemplate> Parse(const std::string& source, ChatVariables variables);

  // Whether it may write the `name` of a message, which Render is not given.
  virtual bool MayReadNames() const { return true; }
  // The text up to where the assistant begins to speak (add_generation_prompt = true). To be
  // encoded without add_special. Throws InputError where the template refuses the conversation, or
  // does what is not supported.
  virtual std::string Render(std::span<const ChatMessage> messages) const = 0;
};

}  // namespace kvfold
