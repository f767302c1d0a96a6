// launcher/options.h: the command line, as docs/design.md section 4 has it.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/device/dtype.h"
#include "runtime/fold/sampler.h"

namespace kvfold {

// Longer than any kernel call of a chunk: over a million tokens one takes seconds, and with
// --attention full over 128K tokens of a 70B model on 8 ranks minutes. What other libraries of
// collectives wait as well; a rank that hangs is rare, and one ended by mistake costs more.
inline constexpr int64_t kDefaultStepTimeoutSeconds = 600;

enum class AttentionMode { kFold, kFull };

// What `run` and `score` share: how a model is loaded and folded.
struct ModelOptions {
  std::string model;
  std::string random_weights;  // a config whose weights are made up; then `model` is empty
  std::vector<std::string> ignored_config_keys;
  int64_t chunk = 256;
  std::string attention = "fold";
  std::string dtype = "auto";
  std::string kv_dtype;  // empty: as dtype
  std::string allreduce_dtype = "auto";
  std::string device = "auto";
  bool share_devices = false;      // several ranks on one GPU
  std::string transport = "auto";  // of data between GPUs
  int64_t max_tokens = 0;          // 0: what the input needs
  int threads = 0;                 // 0: the cores this rank may use
  int64_t step_timeout_s = kDefaultStepTimeoutSeconds;
  std::string log_level = "info";
  bool json = false;

  std::chrono::seconds step_timeout() const { return std::chrono::seconds(step_timeout_s); }
  AttentionMode attention_mode() const {
    return attention == "full" ? AttentionMode::kFull : AttentionMode::kFold;
  }
};

struct RunOptions {
  ModelOptions model;
  std::optional<std::string> prompt;
  std::string prompt_file;
  std::string prompts;  // IN.jsonl
  std::string output;   // OUT.jsonl
  bool retry_errors = false;
  std::string document;
  bool chat = false;
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  int64_t concurrency = 1;
};

struct ScoreOptions {
  ModelOptions model;
  std::string text_file;
  std::string tokens_file;
  std::string logits_file;
};

struct BenchCommandOptions {
  ModelOptions model;
  std::vector<int64_t> tokens = {8192};
  std::vector<int64_t> chunks = {256};
  int64_t decode_tokens = 32;
  int repeats = 3;
  int pretend_ranks = 0;  // 0: the ranks that are there
};

struct PlanOptions {
  ModelOptions model;
  int ranks = 1;
  std::optional<std::string>
      device_memory;  // "40GiB"; default: this machine's, shared by the ranks
  int64_t tokens = 131072;
};

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> text;
  std::string file;
  bool no_special = false;
};

void AddModelOptions(CLI::App& app, ModelOptions& options, bool required = true);
void AddRunOptions(CLI::App& app, RunOptions& options);
void AddScoreOptions(CLI::App& app, ScoreOptions& options);
void AddBenchOptions(CLI::App& app, BenchCommandOptions& options);
void AddPlanOptions(CLI::App& app, PlanOptions& options);
void AddTokenizeOptions(CLI::App& app, TokenizeOptions& options);

// "40GiB", "512MiB", "40GB", "1073741824" in bytes; "40G" is 40GiB, as Slurm, Docker and the tools
// of GNU read it, and "40Gi" as Kubernetes does. Capital and small letters are the same. Throws
// InputError naming `option`.
int64_t ParseBytes(const std::string& option, const std::string& text);
// "f32", "bf16", "int8".
DType ParseDType(const std::string& text);

}  // namespace kvfold
