// launcher/options/groups.h: options that several commands have. A command adds the groups of which
// it uses every option, and so refuses what it would ignore.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/device/dtype.h"
#include "launcher/device_choice.h"
#include "models/model_config.h"
#include "runtime/fold/fold_options.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace kvfold {

// Which model.
struct ModelOptions {
  std::string model;
  std::string random_weights;  // a config whose weights are made up; then `model` is empty
  ConfigOptions config;
};
CLI::Option* AddModelOptions(CLI::App& app, ModelOptions& options, const char* help);

// In which numbers it is computed.
struct DTypeOptions {
  std::optional<DType> dtype;     // none: bf16 where it is native, else f32
  std::optional<DType> kv_dtype;  // none: as dtype
  bool allreduce_in_f32 = false;  // else as products leave the kernels
};
void AddDTypeOptions(CLI::App& app, DTypeOptions& options);

// On which device.
struct DeviceOptions {
  std::optional<DeviceKind> device;  // none: the GPUs where there are any, else the CPU
  int threads = 0;                   // of each rank; 0: its share of the cores that it may use
};
void AddDeviceOptions(CLI::App& app, DeviceOptions& options);

// How it is folded.
void AddFoldOptions(CLI::App& app, FoldOptions& options);

// Longer than any kernel call of a chunk: over a million tokens one takes seconds, and with
// --attention full over 128K tokens of a 70B model on 8 ranks minutes. What other libraries of
// collectives wait as well; a rank that hangs is rare, and one ended by mistake costs more.
inline constexpr std::chrono::seconds kDefaultStepTimeout{600};

// How ranks work together.
struct RankOptions {
  bool share_devices = false;          // several ranks on one GPU
  std::optional<Transport> transport;  // of data between GPUs; none: as they are placed
  int64_t step_timeout_s = kDefaultStepTimeout.count();

  std::chrono::seconds step_timeout() const { return std::chrono::seconds(step_timeout_s); }
};
void AddRankOptions(CLI::App& app, RankOptions& options);

// All that a model is loaded by.
struct LoadOptions {
  ModelOptions model;
  DTypeOptions dtypes;
  DeviceOptions device;
  RankOptions ranks;
};
CLI::Option* AddLoadOptions(CLI::App& app, LoadOptions& options);

// Cache capacity; 0: what the input needs.
void AddMaxTokensOption(CLI::App& app, int64_t& max_tokens);

// --json and --log-level; the latter is read by main().
void AddOutputOptions(CLI::App& app, bool& json);
inline constexpr const char* kLogLevelOption = "--log-level";
inline constexpr const char* kDefaultLogLevel = "info";

}  // namespace kvfold
