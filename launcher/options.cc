#include "launcher/options.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "comm/error.h"
#include "models/quoted.h"

namespace kvfold {

namespace {

// Validators that leave the help's first column to the type's name. Those of numbers read the text
// as it was given, before it is converted: what does not fit its type would become another number,
// and what follows a number would be dropped.

// The whole of `text` as a number, if that is what it is and its type holds it.
template <typename Number>
std::optional<Number> ParseWhole(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename Number>
CLI::Validator Between(Number least, Number most) {
  return CLI::Validator(
      [least, most](const std::string& text) -> std::string {
        const std::optional<Number> value = ParseWhole<Number>(text);
        if (value && *value >= least && *value <= most) return {};
        return fmt::format("{} is not a whole number from {} to {}", Quoted(text), least, most);
      },
      "");
}

// A finite number for which `fits` holds; `expected` says which those are.
CLI::Validator FiniteNumber(bool (*fits)(double), const char* expected) {
  return CLI::Validator(
      [fits, expected](const std::string& text) -> std::string {
        const std::optional<double> value = ParseWhole<double>(text);
        if (value && std::isfinite(*value) && fits(*value)) return {};
        return fmt::format("{} is not a number {}", Quoted(text), expected);
      },
      "");
}

CLI::Validator OneOf(const std::vector<std::string>& names) {
  return CLI::IsMember(names).description(fmt::format("{}", fmt::join(names, "|")));
}

// Refuses a command line without any of these.
void RequireOneOf(CLI::App& app, const std::vector<CLI::Option*>& options,
                  const std::string& names) {
  app.parse_complete_callback([&app, options, names] {
    if (app.remaining_size() > 0) return;  // perhaps a slip of the pen, which is named next
    const bool given =
        std::ranges::any_of(options, [](const CLI::Option* option) { return option->count() > 0; });
    if (!given) throw CLI::RequiredError(names);
  });
}

}  // namespace

void AddModelOptions(CLI::App& app, ModelOptions& options, bool required) {
  app.add_option("--model", options.model,
                 "Hugging Face folder, .gguf file, or (for plan) the name of a shipped config")
      ->required(required);
  app.add_option("--chunk", options.chunk, "Tokens folded at a time")
      ->check(Between(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--attention", options.attention,
                 "fold: chunk by chunk; full: the whole text in one pass")
      ->check(OneOf({"fold", "full"}))
      ->capture_default_str();
  app.add_option("--dtype", options.dtype,
                 "Weights and activations; auto: bf16 where it is native, else f32")
      ->check(OneOf({"auto", "f32", "bf16"}))
      ->capture_default_str();
  app.add_option("--kv-dtype", options.kv_dtype,
                 "Elements of the cache: f32, bf16 or int8 (default: as --dtype)")
      ->check(OneOf({"f32", "bf16", "int8"}));
  app.add_option("--allreduce-dtype", options.allreduce_dtype,
                 "Sums over ranks; auto: as products leave the kernels (bf16 on GPUs), or f32")
      ->check(OneOf({"auto", "f32"}))
      ->capture_default_str();
  app.add_option("--device", options.device,
                 "Where to run; auto: on the GPUs where there are any, else on the CPU")
      ->check(OneOf({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  app.add_flag("--share-devices", options.share_devices, "Let several ranks have the same GPU");
  app.add_option("--transport", options.transport,
                 "How data moves between GPUs; staged: through the hosts' memory, slowly")
      ->check(OneOf({"auto", "nccl", "staged"}))
      ->capture_default_str();
  app.add_option("--max-tokens", options.max_tokens,
                 "Cache capacity in tokens (default: what the input needs)")
      ->check(Between(int64_t{1}, int64_t{1} << 40));
  app.add_option("--threads", options.threads,
                 "Threads of each rank (default: its share of this host's cores)")
      ->check(Between(1, 4096));
  app.add_option("--step-timeout", options.step_timeout_s,
                 "Seconds that a rank may make no progress while others wait for it; 0: for ever")
      ->check(Between(int64_t{0}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--ignore-config", options.ignored_config_keys,
                 "Accept this unknown key of config.json or GGUF, or tensor (repeatable)");
  app.add_option("--log-level", options.log_level, "What is logged to standard error")
      ->check(OneOf({"debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  app.add_flag("--json", options.json, "One JSON object on standard output, nothing else there");
}

void AddRunOptions(CLI::App& app, RunOptions& options) {
  AddModelOptions(app, options.model);
  auto* prompt = app.add_option("--prompt", options.prompt, "Prompt text");
  auto* prompt_file = app.add_option("--prompt-file", options.prompt_file, "File with the prompt");
  auto* prompts = app.add_option("--prompts", options.prompts, "JSON lines, one request each");
  auto* output = app.add_option("--output", options.output,
                                "JSON lines, one result each (with --prompts); -: standard output");
  prompt->excludes(prompt_file)->excludes(prompts);
  prompt_file->excludes(prompts);
  prompts->needs(output);
  output->needs(prompts);
  app.add_flag("--retry-errors", options.retry_errors,
               "Run requests again whose record in --output is an error")
      ->needs(prompts);
  RequireOneOf(app, {prompt, prompt_file, prompts}, "One of --prompt, --prompt-file and --prompts");
  app.add_option("--document", options.document, "File put before the prompt")->excludes(prompts);
  app.add_flag("--chat", options.chat,
               "Render document and prompt as one user turn of the model's chat template");
  app.add_option("--max-new-tokens", options.max_new_tokens, "Tokens to generate at most")
      ->check(Between(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--temperature", options.sampling.temperature, "0: greedy")
      ->check(FiniteNumber([](double value) { return value >= 0.0; }, "of at least 0"))
      ->capture_default_str();
  app.add_option("--top-k", options.sampling.top_k,
                 "Sample among so many most likely tokens; 0: all")
      ->check(Between(int64_t{0}, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  app.add_option("--top-p", options.sampling.top_p,
                 "Sample among the fewest tokens whose probability reaches this")
      ->check(FiniteNumber([](double value) { return value > 0.0 && value <= 1.0; },
                           "of more than 0 and at most 1"))
      ->capture_default_str();
  app.add_option("--seed", options.sampling.seed, "Of the random numbers")
      ->check(Between(uint64_t{0}, std::numeric_limits<uint64_t>::max()))
      ->capture_default_str();
  app.add_option("--concurrency", options.concurrency, "Requests that fold and decode together")
      ->check(Between(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
}

void AddScoreOptions(CLI::App& app, ScoreOptions& options) {
  AddModelOptions(app, options.model);
  auto* text = app.add_option("--text", options.text_file, "Text file to score");
  auto* tokens =
      app.add_option("--tokens", options.tokens_file, "JSON array of token ids to score");
  text->excludes(tokens);
  RequireOneOf(app, {text, tokens}, "--text or --tokens");
  app.add_option("--logits", options.logits_file,
                 "Write all logits [tokens, vocab] as float32 .npy");
}

void AddBenchOptions(CLI::App& app, BenchCommandOptions& options) {
  AddModelOptions(app, options.model, /*required=*/false);
  CLI::Option* const model = app.get_option("--model");
  CLI::Option* const random =
      app.add_option("--random-weights", options.model.random_weights,
                     "Config (or the name of a shipped one) to make up weights for");
  model->excludes(random);
  RequireOneOf(app, {model, random}, "--model or --random-weights");
  app.remove_option(app.get_option("--chunk"));
  app.remove_option(app.get_option("--attention"));
  app.remove_option(app.get_option("--max-tokens"));
  app.add_option("--tokens", options.tokens,
                 "Tokens to fold; a list, as 1024,8192, is run one by one")
      ->delimiter(',')
      ->check(Between(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--chunk", options.chunks, "Tokens folded at a time; a list likewise")
      ->delimiter(',')
      ->check(Between(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--decode-tokens", options.decode_tokens, "Tokens decoded after the last fold")
      ->check(Between(int64_t{0}, int64_t{1} << 20))
      ->capture_default_str();
  app.add_option("--repeats", options.repeats, "Counted folds; their median is told")
      ->check(Between(1, 1000))
      ->capture_default_str();
  app.add_option("--pretend-ranks", options.pretend_ranks,
                 "Measure rank 0's share of so many ranks; they are not there and nothing is "
                 "communicated")
      ->check(Between(1, 1 << 20));
}

void AddPlanOptions(CLI::App& app, PlanOptions& options) {
  AddModelOptions(app, options.model);
  app.add_option("--ranks", options.ranks, "Number of ranks")
      ->check(Between(1, 1 << 20))
      ->capture_default_str();
  app.add_option(
      "--device-memory", options.device_memory,
      "Memory of each rank's device, as 40GiB (default: this machine's, shared by the ranks)");
  app.add_option("--tokens", options.tokens, "Tokens that the cache is to hold")
      ->check(Between(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
}

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

int64_t ParseBytes(const std::string& option, const std::string& text) {
  static constexpr struct {
    std::string_view suffix;  // in small letters
    double factor;
  } kUnits[] = {{"", 1.0},
                {"b", 1.0},
                {"kb", 1e3},
                {"mb", 1e6},
                {"gb", 1e9},
                {"tb", 1e12},
                {"k", 1024.0},
                {"m", 1048576.0},
                {"g", 1073741824.0},
                {"t", 1099511627776.0},
                {"ki", 1024.0},
                {"mi", 1048576.0},
                {"gi", 1073741824.0},
                {"ti", 1099511627776.0},
                {"kib", 1024.0},
                {"mib", 1048576.0},
                {"gib", 1073741824.0},
                {"tib", 1099511627776.0}};
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string suffix(end, static_cast<size_t>(text.data() + text.size() - end));
  if (suffix.starts_with(' ')) suffix.erase(0, 1);
  for (char& letter : suffix) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  for (const auto& unit : kUnits) {
    if (error != std::errc() || suffix != unit.suffix) continue;
    const double bytes = number * unit.factor;
    if (bytes >= 1.0 && bytes < 9e18) return static_cast<int64_t>(std::llround(bytes));
  }
  throw InputError(fmt::format(
      "{} is \"{}\", expected a size such as 40GiB (40G is the same) or 40GB", option, text));
}

DType ParseDType(const std::string& text) {
  if (text == "f32") return DType::kF32;
  if (text == "bf16") return DType::kBF16;
  if (text == "int8") return DType::kI8;
  throw InputError(fmt::format("dtype is \"{}\", expected f32, bf16 or int8", text));
}

}  // namespace kvfold
