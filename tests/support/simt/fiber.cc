#include "tests/support/simt/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

// swapcontext makes two system calls; a warp's collective is 32 switches. The registers that a
// function must keep (System V ABI), and the stack.
#if defined(__x86_64__)
extern "C" void KvfoldSwitchStack(void** save_to, void* resume_from);
asm(R"(
.text
.globl KvfoldSwitchStack
.type KvfoldSwitchStack, @function
KvfoldSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size KvfoldSwitchStack, .-KvfoldSwitchStack
)");
#endif

namespace kvfold::simt {
namespace {
constexpr size_t kStackBytes = size_t{256} << 10;  // touched pages count, and few are
}  // namespace

struct Fiber::State {
  void (*entry)(void*) = nullptr;
  void* context = nullptr;
  void* stack = nullptr;
#if defined(__x86_64__)
  void* inside = nullptr;
  void* outside = nullptr;
#else
  ucontext_t inside, outside;
#endif
#if defined(__SANITIZE_ADDRESS__)
  void* fake_inside = nullptr;
  void* fake_outside = nullptr;
  const void* outside_bottom = nullptr;
  size_t outside_bytes = 0;
#endif
#if defined(__SANITIZE_THREAD__)
  void* tsan_inside = nullptr;
  void* tsan_outside = nullptr;
#endif

  void Arrived() {  // first thing inside
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_inside, &outside_bottom, &outside_bytes);
#endif
  }
};

namespace {
Fiber::State* starting = nullptr;  // read by the trampoline before anything else runs
}

Fiber::Fiber() : state_(std::make_unique<State>()) {
  state_->stack =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (state_->stack == MAP_FAILED) throw std::bad_alloc();
}

Fiber::~Fiber() {
#if defined(__SANITIZE_THREAD__)
  if (state_->tsan_inside != nullptr) __tsan_destroy_fiber(state_->tsan_inside);
#endif
  munmap(state_->stack, kStackBytes);
}

namespace {
[[noreturn]] void Trampoline() {
  Fiber::State* const state = starting;
  state->Arrived();
  state->entry(state->context);
  __builtin_trap();  // an entry leaves for good by Leave
}
}  // namespace

void Fiber::Start(void (*entry)(void*), void* context) {
  state_->entry = entry;
  state_->context = context;
#if defined(__SANITIZE_ADDRESS__)
  state_->fake_inside = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
  if (state_->tsan_inside != nullptr) __tsan_destroy_fiber(state_->tsan_inside);
  state_->tsan_inside = __tsan_create_fiber(0);
#endif
#if defined(__x86_64__)
  // At the entry of a function the stack pointer is 8 past a multiple of 16; six registers below.
  auto** top = reinterpret_cast<void**>(static_cast<char*>(state_->stack) + kStackBytes);
  *--top = nullptr;  // where a caller's return address would be
  *--top = reinterpret_cast<void*>(&Trampoline);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  state_->inside = top;
#else
  getcontext(&state_->inside);
  state_->inside.uc_stack.ss_sp = state_->stack;
  state_->inside.uc_stack.ss_size = kStackBytes;
  state_->inside.uc_link = nullptr;
  makecontext(&state_->inside, reinterpret_cast<void (*)()>(&Trampoline), 0);
#endif
}

void Fiber::Resume() {
  starting = state_.get();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&state_->fake_outside, state_->stack, kStackBytes);
#endif
#if defined(__SANITIZE_THREAD__)
  state_->tsan_outside = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(state_->tsan_inside, 0);
#endif
#if defined(__x86_64__)
  KvfoldSwitchStack(&state_->outside, state_->inside);
#else
  swapcontext(&state_->outside, &state_->inside);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(state_->fake_outside, nullptr, nullptr);
#endif
}

void Fiber::Leave() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&state_->fake_inside, state_->outside_bottom,
                                 state_->outside_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(state_->tsan_outside, 0);
#endif
#if defined(__x86_64__)
  KvfoldSwitchStack(&state_->inside, state_->outside);
#else
  swapcontext(&state_->inside, &state_->outside);
#endif
  state_->Arrived();
}

}  // namespace kvfold::simt
