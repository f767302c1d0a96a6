// kvfold tokenize: text to token ids.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "launcher/commands/command.h"
#include "launcher/options/validators.h"
#include "models/model_config.h"
#include "models/tokenizer/tokenizer.h"
#include "runtime/jobs/text_input.h"

namespace kvfold {
namespace {

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> text;
  std::string file;
  bool no_special = false;
};

void AddTokenizeOptions(CLI::App& app, TokenizeOptions& options) {
  app.add_option("--model", options.model, "Hugging Face folder, tokenizer.json or .gguf file")
      ->required();
  auto* text = app.add_option("--text", options.text, "Text to tokenize");
  auto* file = app.add_option("--file", options.file, "File to tokenize");
  text->excludes(file);
  RequireOneOf(app, {text, file}, "--text or --file");
  app.add_flag("--no-special", options.no_special,
               "Leave out what the tokenizer puts around a text");
}

int Tokenize(const TokenizeOptions& options) {
  const std::string text =
      options.text ? *options.text : AsText(ReadInput(options.file), InputName(options.file));
  const auto tokenizer = Tokenizer::Open(ResolveModel(options.model));
  fmt::print("{}\n", nlohmann::json(tokenizer->Encode(text, !options.no_special)).dump());
  return 0;
}

}  // namespace

std::function<int()> BindTokenize(CLI::App& app) {
  const auto options = std::make_shared<TokenizeOptions>();
  AddTokenizeOptions(app, *options);
  return [options] { return Tokenize(*options); };
}

}  // namespace kvfold
