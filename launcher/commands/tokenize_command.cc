// kvfold tokenize: text to token ids.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "comm/error.h"
#include "launcher/commands/commands.h"
#include "launcher/text_input.h"
#include "models/model_config.h"
#include "models/tokenizer/tokenizer.h"

namespace kvfold {

int TokenizeCommand(const TokenizeOptions& options) {
  const std::string text = options.text ? *options.text
                                        : AsText(ReadInput(options.file, "nothing was tokenized"),
                                                 InputName(options.file));
  const auto tokenizer = Tokenizer::Open(ResolveModel(options.model));
  fmt::print("{}\n", nlohmann::json(tokenizer->Encode(text, !options.no_special)).dump());
  return 0;
}

}  // namespace kvfold
