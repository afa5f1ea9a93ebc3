/* Tells from which sources the library was built, so that a stale one is never loaded. */
#include "door.h"

EXPORT const char *unshuffle_fingerprint(void)
{
    return UNSHUFFLE_FINGERPRINT;
}
