// models/chat/chat_form.h: which form of conversation a renderer writes, told by what it writes for
// conversations that show every rule of the form.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "models/chat_template.h"

namespace kvfold {

using ConversationRenderer = std::function<std::string(std::span<const ChatMessage>)>;

// "chatml": each message is <|im_start|>role\ncontent<|im_end|>\n, the content as it is; then
// <|im_start|>assistant\n. Before a conversation without a system message there may be one of the
// template's own. "llama3": each message is
// <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>, the content trimmed; then the
// assistant's header. There may be a system message always, whose text begins with the template's
// own (its date, say). Either may begin with `bos_token`. Throws InputError, saying where it
// differs, for anything else.
std::string RecogniseForm(const ConversationRenderer& render, const std::string& bos_token);

}  // namespace kvfold
