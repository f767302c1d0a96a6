// models/config_refusals.h: what of a config cannot be computed, gathered so that a user learns all
// of it at once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/model_config.h"

namespace kvfold {

class ConfigRefusals {
 public:
  explicit ConfigRefusals(const ConfigOptions& options) : options_(options) {}

  // "hidden_act is \"gelu\", expected \"silu\"": nothing goes on with that.
  void Add(std::string clause) { clauses_.push_back(std::move(clause)); }
  // The same for what --ignore-config passes over by `key`; nothing is added where it does.
  void AddIgnorable(std::string_view key, std::string clause);
  // A key that nobody here knows, found as `clause` says ("\"mlp_bias\" is true").
  void AddUnknown(std::string_view key, std::string clause);

  // Throws InputError of one sentence where anything was added: all of it, and how to go on.
  void ThrowIfAny(const std::string& file) const;

 private:
  bool IsIgnored(std::string_view key) const;

  const ConfigOptions& options_;
  std::vector<std::string> clauses_;
  std::vector<std::string> unknown_;
  std::vector<std::string> ignorable_keys_;
};

}  // namespace kvfold
