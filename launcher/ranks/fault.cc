#include "launcher/ranks/fault.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <map>
#include <new>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>

#include "comm/error.h"

namespace kvfold {
namespace {

constexpr const char* kVariable = "KVFOLD_FAULT";

constexpr std::array<std::pair<std::string_view, Fault::Kind>, 6> kKinds = {
    {{"kill", Fault::Kind::kKill},
     {"stop", Fault::Kind::kStop},
     {"sleep", Fault::Kind::kSleep},
     {"throw", Fault::Kind::kThrow},
     {"alloc", Fault::Kind::kAlloc},
     {"slow", Fault::Kind::kSlow}}};

[[noreturn]] void Refuse(const std::string& text, const std::string& problem) {
  throw InputError(fmt::format(
      "{} is \"{}\": {}, expected rank=R,step=S,layer=L,do=KIND or rank=R,tensor=T,do=KIND with "
      "KIND kill, stop, sleep, throw, alloc or slow",
      kVariable, text, problem));
}

int64_t Number(const std::string& text, const std::string& name, const std::string& value,
               int64_t least) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < least)
    Refuse(text, fmt::format("{} is \"{}\"", name, value));
  return number;
}

void Happen(Fault::Kind kind) {
  switch (kind) {
    case Fault::Kind::kKill:
      kill(getpid(), SIGKILL);
      break;
    case Fault::Kind::kStop:
      kill(getpid(), SIGSTOP);
      break;
    case Fault::Kind::kSleep:
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    case Fault::Kind::kThrow:
      throw std::runtime_error(fmt::format("this rank was told to fail ({})", kVariable));
    case Fault::Kind::kAlloc:
      throw std::bad_alloc();
    case Fault::Kind::kSlow:
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      break;
  }
}

}  // namespace

Fault ParseFault(const std::string& text) {
  std::map<std::string, std::string> fields;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string field = text.substr(begin, end - begin);
    const size_t equals = field.find('=');
    if (equals == std::string::npos) Refuse(text, fmt::format("\"{}\" has no \"=\"", field));
    if (!fields.emplace(field.substr(0, equals), field.substr(equals + 1)).second)
      Refuse(text, fmt::format("{} stands there twice", field.substr(0, equals)));
    begin = end + 1;
  }
  const auto take = [&](const char* name) {
    const auto found = fields.find(name);
    if (found == fields.end()) Refuse(text, fmt::format("{} is missing", name));
    std::string value = found->second;
    fields.erase(found);
    return value;
  };
  Fault fault;
  fault.rank = Number(text, "rank", take("rank"), 0);
  if (fields.contains("tensor")) {
    fault.layer = Number(text, "tensor", take("tensor"), 1);
  } else {
    fault.step = Number(text, "step", take("step"), 1);
    fault.layer = Number(text, "layer", take("layer"), 0);
  }
  const std::string kind = take("do");
  const auto* const found =
      std::ranges::find(kKinds, std::string_view(kind), &decltype(kKinds)::value_type::first);
  if (found == kKinds.end()) Refuse(text, fmt::format("do is \"{}\"", kind));
  fault.kind = found->second;
  if (!fields.empty()) Refuse(text, fmt::format("{} is unknown", fields.begin()->first));
  return fault;
}

void InstallFault(Communicator& communicator) {
  const char* const text = std::getenv(kVariable);
  if (text == nullptr) return;
  const Fault fault = ParseFault(text);
  if (fault.rank >= communicator.size()) {
    Refuse(text, fmt::format("rank is {} of {} ranks", fault.rank, communicator.size()));
  }
  if (fault.rank != communicator.rank()) return;
  communicator.progress().SetObserver([fault](const ProgressView& at) {
    if ((at.step == 0) != (fault.step == 0)) return;
    const bool here = at.step == fault.step && at.layer == fault.layer;
    const bool beyond = std::pair(at.step, at.layer) > std::pair(fault.step, fault.layer);
    if (here || (beyond && fault.kind == Fault::Kind::kSlow)) Happen(fault.kind);
  });
}

}  // namespace kvfold
