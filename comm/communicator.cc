#include "comm/communicator.h"

#include <spdlog/spdlog.h>

#include <exception>

namespace kvfold {
namespace {

// An unwatched sum that fails must be heard of, but a destructor cannot throw.
void AwaitAndLog(std::unique_ptr<PendingCollective::State> state) noexcept {
  if (state == nullptr) return;
  try {
    state->Await();
  } catch (const std::exception& error) {
    spdlog::error("a collective that nobody awaited failed: {}", error.what());
  } catch (...) {
    spdlog::error("a collective that nobody awaited failed");
  }
}

}  // namespace

PendingCollective& PendingCollective::operator=(PendingCollective&& other) noexcept {
  if (this != &other) AwaitAndLog(std::exchange(state_, std::move(other.state_)));
  return *this;
}

PendingCollective::~PendingCollective() { AwaitAndLog(std::move(state_)); }

void PendingCollective::Await() {
  if (const std::unique_ptr<State> state = std::move(state_)) state->Await();
}

}  // namespace kvfold
