#include "models/chat/chat_form.h"

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "comm/error.h"
#include "models/chat/jinja_evaluator.h"
#include "models/quoted.h"

namespace kvfold {
namespace {

struct Form {
  std::string_view name;
  std::string_view before_role;
  std::string_view behind_role;
  std::string_view behind_content;
  bool trims = false;
  // A system message of the template's own may also stand before the conversation's.
  bool extends_system = false;

  std::string Head(std::string_view role) const {
    return fmt::format("{}{}{}", before_role, role, behind_role);
  }
  std::string Text(const ChatMessage& message) const {
    return trims ? jinja::Trim(message.content) : message.content;
  }
};

constexpr std::array<Form, 2> kForms = {{
    {"chatml", "<|im_start|>", "\n", "<|im_end|>\n", false, false},
    {"llama3", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", true, true},
}};

// Contents have white space around them, so that a template that trims shows; no form alters what
// is inside.
const ChatMessage kSystem = {"system", "\n about \n\n the world \t\n"};
const ChatMessage kUser = {"user", " \n first  question\n "};
const ChatMessage kAssistant = {"assistant", "\t first answer \n"};
const ChatMessage kUserAgain = {"user", "\n\nsecond question "};

std::string Messages(const Form& form, std::span<const ChatMessage> messages) {
  std::string text;
  for (const ChatMessage& message : messages) {
    text += form.Head(message.role) + form.Text(message) + std::string(form.behind_content);
  }
  return text + form.Head("assistant");
}

// What the template adds to a conversation: the text of its own system message, or before the given
// one's.
using Addition = std::optional<std::string>;

// nullopt where `text` is not the form.
std::optional<Addition> Match(const Form& form, std::span<const ChatMessage> messages,
                              std::string_view text) {
  if (text == Messages(form, messages)) return Addition();
  const bool has_system = messages.front().role == "system";
  if (has_system && !form.extends_system) return std::nullopt;
  const std::string head = form.Head("system");
  const std::string tail = (has_system ? form.Text(messages.front()) : "") +
                           std::string(form.behind_content) +
                           Messages(form, has_system ? messages.subspan(1) : messages);
  if (!text.starts_with(head) || !text.ends_with(tail) || text.size() < head.size() + tail.size()) {
    return std::nullopt;
  }
  const std::string_view added = text.substr(head.size(), text.size() - head.size() - tail.size());
  if (added.find("<|") != std::string_view::npos) return std::nullopt;
  return Addition(added);
}

const std::vector<std::vector<ChatMessage>>& Conversations() {
  static const std::vector<std::vector<ChatMessage>> conversations = {
      {kUser},
      {kUser, kAssistant, kUserAgain},
      {kSystem, kUser},
      {kSystem, kUser, kAssistant, kUserAgain},
  };
  return conversations;
}

// Whether `texts`, each behind its first `n_skipped` bytes, are the form, and alike: what is added
// is the same at every turn, and what comes before a given system message comes before none, too.
bool IsForm(const Form& form, const std::vector<std::string>& texts, size_t n_skipped) {
  std::vector<Addition> additions;
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::optional<Addition> addition =
        Match(form, Conversations()[i], std::string_view(texts[i]).substr(n_skipped));
    if (!addition.has_value()) return false;
    additions.push_back(*addition);
  }
  return additions[0] == additions[1] && additions[2] == additions[3] &&
         (!additions[2].has_value() || additions[2] == additions[0]);
}

}  // namespace

std::string RecogniseForm(const ConversationRenderer& render, const std::string& bos_token) {
  std::vector<std::string> texts;
  bool with_bos = true;
  for (const std::vector<ChatMessage>& conversation : Conversations()) {
    texts.push_back(render(conversation));
    with_bos = with_bos && texts.back().starts_with(bos_token);
  }
  // A bos_token may itself be how a message begins (SmolLM2's is <|im_start|>), so both are tried.
  for (const Form& form : kForms) {
    if (IsForm(form, texts, 0) || (with_bos && IsForm(form, texts, bos_token.size()))) {
      return std::string(form.name);
    }
  }
  throw InputError(fmt::format("it writes {} for a question", Quoted(texts[0])));
}

}  // namespace kvfold
