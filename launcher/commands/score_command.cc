// kvfold score: teacher-forced log-likelihood of a text.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "launcher/commands/command.h"
#include "launcher/options/groups.h"
#include "launcher/options/validators.h"
#include "launcher/ranks/agreement.h"
#include "launcher/ranks/memory_use.h"
#include "launcher/ranks/rank_model.h"
#include "launcher/ranks/stop_signal.h"
#include "launcher/report.h"
#include "models/json_text.h"
#include "models/tokenizer/utf8.h"
#include "runtime/eval/npy_writer.h"
#include "runtime/eval/score.h"
#include "runtime/fold/fold_options.h"
#include "runtime/jobs/text_input.h"

namespace kvfold {
namespace {

constexpr int64_t kGatherRows = 16;
constexpr const char* kBeginsAgain = "the text was not scored; the same command begins again";

struct ScoreOptions {
  LoadOptions load;
  FoldOptions fold;
  int64_t max_tokens = 0;  // 0: what the text needs
  bool json = false;
  std::string text_file;
  std::string tokens_file;
  std::string logits_file;
};

void AddScoreOptions(CLI::App& app, ScoreOptions& options) {
  AddLoadOptions(app, options.load)->required();
  AddFoldOptions(app, options.fold);
  AddMaxTokensOption(app, options.max_tokens);
  AddOutputOptions(app, options.json);
  auto* text = app.add_option("--text", options.text_file, "Text file to score");
  auto* tokens =
      app.add_option("--tokens", options.tokens_file, "JSON array of token ids to score");
  text->excludes(tokens);
  RequireOneOf(app, {text, tokens}, "--text or --tokens");
  app.add_option("--logits", options.logits_file,
                 "Write all logits [tokens, vocab] as float32 .npy");
}

void CheckStop() { ThrowIfStopped(kBeginsAgain); }

std::vector<TokenId> ReadTokenFile(const std::string& path) {
  const std::string text = ReadInput(path, CheckStop);
  const std::string name = InputName(path);
  if (const std::string_view other = OtherUnicode(text); !other.empty())
    throw InputError(fmt::format("{} is {}, expected UTF-8", name, other));
  nlohmann::json array;
  try {
    array = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    const JsonProblem problem = FindJsonProblem(text, error);
    throw InputError(
        fmt::format("{}: expected a JSON array of token ids, but at line {}, column {}: {}", name,
                    problem.line, problem.column, problem.why));
  }
  if (!array.is_array())
    throw InputError(
        fmt::format("{}: expected a JSON array of token ids, found {}", name, array.type_name()));
  std::vector<TokenId> tokens;
  for (const auto& entry : array) {
    if (!entry.is_number_integer() || entry.get<int64_t>() < 0 ||
        entry.get<int64_t>() > std::numeric_limits<TokenId>::max()) {
      throw InputError(
          fmt::format("{}: element {} is {}, expected a token id", name, tokens.size(),
                      entry.is_number() ? entry.dump() : std::string(entry.type_name())));
    }
    tokens.push_back(entry.get<TokenId>());
  }
  return tokens;
}

std::vector<TokenId> ReadText(const std::string& path, const std::filesystem::path& model) {
  std::unique_ptr<Tokenizer> tokenizer;
  try {
    tokenizer = Tokenizer::Open(model);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: give token ids with --tokens", error.what()));
  }
  const std::string text = AsText(ReadInput(path, CheckStop), InputName(path));
  try {
    return tokenizer->Encode(text, /*add_special=*/true);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", InputName(path), error.what()));
  }
}

std::vector<TokenId> ReadTokens(const ScoreOptions& options, const RankModel& model) {
  std::vector<TokenId> tokens = options.text_file.empty()
                                    ? ReadTokenFile(options.tokens_file)
                                    : ReadText(options.text_file, model.path());
  if (tokens.size() < 2)
    throw InputError(
        fmt::format("the text has {} tokens, expected at least 2 to score", tokens.size()));
  const int64_t most = options.max_tokens;
  if (most > 0 && static_cast<int64_t>(tokens.size()) > most) {
    throw InputError(fmt::format("the text has {} tokens, the cache holds {}: raise --max-tokens",
                                 tokens.size(), most));
  }
  return tokens;
}

// Throws InputError where the file cannot be made: said before any work is done for it.
std::unique_ptr<NpyWriter> OpenLogits(const ScoreOptions& options, const RankModel& model,
                                      int64_t rows) {
  std::vector<NamedFile> others = {ReadBy("--model", model.path()), StandardError(),
                                   StandardOutput("score")};
  if (!options.text_file.empty()) others.push_back(ReadBy("--text", options.text_file));
  if (!options.tokens_file.empty()) others.push_back(ReadBy("--tokens", options.tokens_file));
  try {
    return std::make_unique<NpyWriter>(OutputPlace(options.logits_file, others, CheckStop), rows,
                                       model.config().vocab_size);
  } catch (const InputError& problem) {
    throw InputError(fmt::format("--logits: {}", problem.what()));
  }
}

int Score(RankGroup& group, const ScoreOptions& options) {
  RankModel model(group, options.load, FoldSettings(options.fold, options.max_tokens));
  std::vector<TokenId> tokens;
  std::unique_ptr<NpyWriter> logits;
  Workload workload;
  RunForFirst(group.communicator(), [&] {
    if (group.rank() != 0) return;
    tokens = ReadTokens(options, model);
    const auto n_tokens = static_cast<int64_t>(tokens.size());
    workload.tokens = std::max(n_tokens, options.max_tokens);
    workload.chunk = options.fold.ChunkOf(n_tokens);
    if (!options.logits_file.empty()) {
      workload.gather_rows = kGatherRows;
      logits = OpenLogits(options, model, n_tokens);
    }
    CheckStop();
  });
  Session& session = model.Load(workload);
  StopTogether(group.communicator(), kBeginsAgain);
  ScoreResult result;
  model.Drive([&] {
    Progress progress("scoring");
    ScoreCallbacks callbacks;
    callbacks.folded = [&](int64_t chunk, int64_t n_chunks, int64_t tokens_done) {
      progress.Update(chunk, n_chunks, tokens_done, static_cast<int64_t>(tokens.size()));
      if (chunk < n_chunks) CheckStop();
    };
    if (logits)
      callbacks.logits = [&](int64_t, std::span<const float> row) { logits->Append(row); };
    result = ScoreTokens(session.engine(), session.embeddings(), tokens, workload.chunk, callbacks);
    if (logits) logits->Close();
  });
  if (group.rank() != 0) return 0;
  if (options.json) {
    const nlohmann::ordered_json object = {{"tokens", result.tokens},
                                           {"nll", result.nll},
                                           {"nll_by_chunk", result.nll_by_chunk},
                                           {"ranks", group.size()},
                                           {"chunk", workload.chunk},
                                           {"fold_s", result.fold_s},
                                           {"transport", model.device().transport()},
                                           {"device", model.device().description()}};
    fmt::print("{}\n", object.dump());
  } else {
    fmt::print("{} tokens in {}, nll {:.6f} nats per token, perplexity {:.4f}, {}\n", result.tokens,
               Count(result.chunks, "chunk"), result.nll, std::exp(result.nll),
               FormatSeconds(result.fold_s));
  }
  return 0;
}

}  // namespace

std::function<int()> BindScore(CLI::App& app) {
  const auto options = std::make_shared<ScoreOptions>();
  AddScoreOptions(app, *options);
  return [options] {
    return WithRanks("score", options->load.ranks.step_timeout(),
                     [&](RankGroup& group) { return Score(group, *options); });
  };
}

}  // namespace kvfold
