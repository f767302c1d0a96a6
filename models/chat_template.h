// models/chat_template.h: conversations rendered as a model was trained to read them. Two forms are
// known, ChatML and Llama 3, each recognised from the model's own Jinja template; anything else is
// refused, never approximated.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace kvfold {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // The template of a Hugging Face folder (tokenizer_config.json or chat_template.jinja) or a .gguf
  // file. Throws InputError saying that the template is missing or not recognised, and that
  // --prompt is the way.
  static std::unique_ptr<ChatTemplate> Open(const std::filesystem::path& model);
  // From the Jinja source; bos_token as the source's `bos_token` variable.
  static std::unique_ptr<ChatTemplate> Recognise(const std::string& source,
                                                 const std::string& bos_token);

  virtual std::string name() const = 0;  // "chatml", "llama3"
  // Whether it may write the `name` of a message, which Render is not given.
  virtual bool MayReadNames() const { return true; }
  // The text up to where the assistant begins to speak (add_generation_prompt = true). To be
  // encoded without add_special.
  virtual std::string Render(std::span<const ChatMessage> messages) const = 0;
};

}  // namespace kvfold
