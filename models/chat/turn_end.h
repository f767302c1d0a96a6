// models/chat/turn_end.h: the tokens at which the assistant's turn ends, as the model's own chat
// template ends it. A model's eos is often another: a base model's, that was never changed when the
// model learned to chat.
#pragma once

#include <filesystem>
#include <vector>

#include "models/chat_template.h"
#include "models/tokenizer/tokenizer.h"

namespace kvfold {

// The token that stands behind what an assistant said (white space between passed over), if a
// conversation can be rendered and an added token stands there; and the eos_token of a folder's
// tokenizer_config.json. Empty where there is neither.
std::vector<TokenId> TurnEndIds(const std::filesystem::path& model, const ChatTemplate& chat,
                                const Tokenizer& tokenizer);

}  // namespace kvfold
