// kvfold tokenize: text to token ids.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "comm/error.h"
#include "launcher/commands.h"
#include "models/model_config.h"
#include "models/tokenizer/tokenizer.h"
#include "runtime/jobs/prompt_line.h"

namespace kvfold {

int TokenizeCommand(const TokenizeOptions& options) {
  const std::string text = options.text ? *options.text : ReadTextFile(options.file);
  const auto tokenizer = Tokenizer::Open(ResolveModel(options.model));
  fmt::print("{}\n", nlohmann::json(tokenizer->Encode(text, !options.no_special)).dump());
  return 0;
}

}  // namespace kvfold
