// launcher/inheritance.h: what a process gets from whoever starts it, and how this one takes it.
#pragma once

namespace kvfold {

// To be called before anything is opened.
//
// Standard descriptors that are closed (>&- and daemons) are given to /dev/null, or else the next
// file opened would have their number and take what is logged and printed. What is printed to a
// closed standard output is an error all the same; logs are dropped. A standard stream that does
// not block, as other programs leave their pipes, is opened anew as one that does: standard I/O
// loses what it cannot write at once.
//
// SIGPIPE and SIGXFSZ are ignored, so that a reader that has gone and a limit of file sizes are
// errors as a full disk is, with a sentence, and not the end in the middle of a record. SIGBUS is
// let through where it is blocked: it tells of a mapped file that was cut short.
void TakeInheritance();

}  // namespace kvfold
