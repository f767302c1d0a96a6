#include "launcher/options/groups.h"

#include "launcher/options/validators.h"

namespace kvfold {

CLI::Option* AddModelOptions(CLI::App& app, ModelOptions& options, const char* help) {
  CLI::Option* const model = app.add_option("--model", options.model, help);
  app.add_option("--ignore-config", options.config.ignored_keys,
                 "Accept this unknown key of config.json or GGUF, or tensor (repeatable)");
  return model;
}

void AddDTypeOptions(CLI::App& app, DTypeOptions& options) {
  using Choice = std::optional<DType>;
  AddChoice<Choice>(app, "--dtype", options.dtype,
                    {{"auto", {}}, {"f32", DType::kF32}, {"bf16", DType::kBF16}},
                    "Weights and activations; auto: bf16 where it is native, else f32");
  AddChoice<Choice>(app, "--kv-dtype", options.kv_dtype,
                    {{"f32", DType::kF32}, {"bf16", DType::kBF16}, {"int8", DType::kI8}},
                    "Elements of the cache: f32, bf16 or int8 (default: as --dtype)",
                    /*has_default=*/false);
  AddChoice<bool>(app, "--allreduce-dtype", options.allreduce_in_f32,
                  {{"auto", false}, {"f32", true}},
                  "Sums over ranks; auto: as products leave the kernels (bf16 on GPUs), or f32");
}

void AddDeviceOptions(CLI::App& app, DeviceOptions& options) {
  AddChoice<std::optional<DeviceKind>>(
      app, "--device", options.device,
      {{"auto", {}}, {"cpu", DeviceKind::kCpu}, {"cuda", DeviceKind::kCuda}},
      "Where to run; auto: on the GPUs where there are any, else on the CPU");
  app.add_option("--threads", options.threads,
                 "Threads of each rank (default: its share of this host's cores)")
      ->check(Between(1, 4096));
}

void AddFoldOptions(CLI::App& app, FoldOptions& options) {
  app.add_option("--chunk", options.chunk, "Tokens folded at a time")
      ->check(Between(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  AddChoice<AttentionMode>(app, "--attention", options.attention,
                           {{"fold", AttentionMode::kFold}, {"full", AttentionMode::kFull}},
                           "fold: chunk by chunk; full: the whole text in one pass");
}

void AddRankOptions(CLI::App& app, RankOptions& options) {
  app.add_flag("--share-devices", options.share_devices, "Let several ranks have the same GPU");
  AddChoice<std::optional<Transport>>(
      app, "--transport", options.transport,
      {{"auto", {}}, {"nccl", Transport::kNccl}, {"staged", Transport::kStaged}},
      "How data moves between GPUs; staged: through the hosts' memory, slowly");
  app.add_option("--step-timeout", options.step_timeout_s,
                 "Seconds that a rank may make no progress while others wait for it; 0: for ever")
      ->check(Between(int64_t{0}, int64_t{1} << 30))
      ->capture_default_str();
}

CLI::Option* AddLoadOptions(CLI::App& app, LoadOptions& options) {
  CLI::Option* const model =
      AddModelOptions(app, options.model, "Hugging Face folder or .gguf file");
  AddDTypeOptions(app, options.dtypes);
  AddDeviceOptions(app, options.device);
  AddRankOptions(app, options.ranks);
  return model;
}

void AddMaxTokensOption(CLI::App& app, int64_t& max_tokens) {
  app.add_option("--max-tokens", max_tokens,
                 "Cache capacity in tokens (default: what the input needs)")
      ->check(Between(int64_t{1}, int64_t{1} << 40));
}

void AddOutputOptions(CLI::App& app, bool& json) {
  app.add_flag("--json", json, "One JSON object on standard output, nothing else there");
  app.add_option(kLogLevelOption, "What is logged to standard error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"})
                  .description("debug|info|warn|error|off"))
      ->default_str(kDefaultLogLevel);
}

}  // namespace kvfold
