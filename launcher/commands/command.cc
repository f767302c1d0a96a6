#include "launcher/commands/command.h"

namespace kvfold {

std::span<const Command> Commands() {
  static constexpr Command kCommands[] = {
      {"run", "Generate from one prompt or a file of requests", true, BindRun},
      {"score", "Log-likelihood of a text", true, BindScore},
      {"bench", "Speed and memory beside the machine's ceilings", true, BindBench},
      {"plan", "What each rank would hold, before anything is loaded", false, BindPlan},
      {"tokenize", "Text to token ids", false, BindTokenize},
      {"info", "Version, devices, libraries", false, BindInfo},
  };
  return kCommands;
}

}  // namespace kvfold
