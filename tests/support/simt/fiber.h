// tests/support/simt/fiber.h: a function with a stack of its own that can be left and entered
// again, within one thread.
#pragma once

#include <cstddef>
#include <memory>

namespace kvfold::simt {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next Resume calls entry(context) on an empty stack, whatever was on it: no destructor of an
  // abandoned function runs. `entry` ends by calling Leave and is not entered again.
  void Start(void (*entry)(void*), void* context);
  void Resume();  // from outside: returns at the fiber's next Leave
  void Leave();   // from within

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace kvfold::simt
