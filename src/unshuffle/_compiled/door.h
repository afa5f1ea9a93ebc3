/* What every function behind a door of this package has: it can be found, and returns a status. */
#ifndef UNSHUFFLE_DOOR_H
#define UNSHUFFLE_DOOR_H

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* A status that the caller turns into an exception. */
enum { DONE = 0, OUT_OF_MEMORY = 1 };

#endif
