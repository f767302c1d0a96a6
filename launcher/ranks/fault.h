// launcher/ranks/fault.h: faults for tests, so that what is said of dead, stopped and stuck ranks
// can be tried at a chosen place. Nothing but tests sets this.
//
//   KVFOLD_FAULT="rank=1,step=3,layer=2,do=kill"     in step 3 (from 1) of rank 1, at layer 2
//   KVFOLD_FAULT="rank=0,tensor=4,do=alloc"          while loading, after the 4th weight
//
// do: kill (SIGKILL to itself), stop (SIGSTOP), sleep (for ever), throw (an exception), alloc (as
// where memory is spent), slow (a fifth of a second at every layer from there on).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "comm/communicator.h"

namespace kvfold {

struct Fault {
  enum class Kind { kKill, kStop, kSleep, kThrow, kAlloc, kSlow };
  int64_t rank = 0;
  int64_t step = 0;   // 0: while loading
  int64_t layer = 0;  // while loading: tensors loaded
  Kind kind = Kind::kKill;
};

// The variable's text. Throws InputError naming the variable, and the part that is wrong.
Fault ParseFault(const std::string& text);

// Lets the rank that KVFOLD_FAULT names run into its fault; nothing where it is not set. Throws
// InputError.
void InstallFault(Communicator& communicator);

}  // namespace kvfold
