#include "models/checkpoint/mapping_faults.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>

#include "comm/error.h"

namespace kvfold {
namespace {

// A signal handler can be given no state but a global one, and may take no lock: a slot is filled
// before its address is published, and emptied after that was taken back.
struct Mapping {
  std::atomic<const uint8_t*> data = nullptr;  // nullptr: free
  uint64_t size_bytes = 0;
  std::unique_ptr<char[]> sentence;  // written in one piece: several ranks may say theirs at once
};
std::array<Mapping, 1024> mappings;
std::mutex mappings_mutex;  // between those who note and forget

void Write(const char* text) {
  size_t left = std::strlen(text);
  while (left > 0) {
    const ssize_t written = ::write(STDERR_FILENO, text, left);
    if (written <= 0) return;
    text += written;
    left -= static_cast<size_t>(written);
  }
}

// Only what is safe in a signal handler: signal-safety(7).
void OnFault(int signal, siginfo_t* info, void*) {
  const auto* const address = static_cast<const uint8_t*>(info->si_addr);
  for (const Mapping& mapping : mappings) {
    const uint8_t* const data = mapping.data.load(std::memory_order_acquire);
    if (data == nullptr || address < data || address >= data + mapping.size_bytes) continue;
    Write(mapping.sentence.get());
    ::_exit(static_cast<int>(ErrorCode::kFailed));
  }
  ::signal(signal, SIG_DFL);  // the fault comes again, and ends the process
}

}  // namespace

void HandleMappingFaults() {
  struct sigaction action = {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

void NoteMapping(const uint8_t* data, uint64_t size_bytes, const std::string& path) {
  const std::lock_guard lock(mappings_mutex);
  for (Mapping& mapping : mappings) {
    if (mapping.data.load(std::memory_order_relaxed) != nullptr) continue;
    mapping.size_bytes = size_bytes;
    const std::string sentence = fmt::format(
        "kvfold: {}: cannot be read any more: it was cut short, or its disk failed, while it is in "
        "use\n",
        path);
    mapping.sentence = std::make_unique<char[]>(sentence.size() + 1);
    std::memcpy(mapping.sentence.get(), sentence.c_str(), sentence.size() + 1);
    mapping.data.store(data, std::memory_order_release);
    return;
  }
}

void ForgetMapping(const uint8_t* data) noexcept {
  const std::lock_guard lock(mappings_mutex);
  for (Mapping& mapping : mappings) {
    if (mapping.data.load(std::memory_order_relaxed) == data) {
      mapping.data.store(nullptr, std::memory_order_release);
      return;
    }
  }
}

}  // namespace kvfold
