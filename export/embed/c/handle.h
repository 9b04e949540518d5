/* What is behind the opaque handle. Private. */
#ifndef POSERT_HANDLE_H
#define POSERT_HANDLE_H

#include "internal.h"

struct posert {
    char error[512];
    posert__runtime runtime;
    posert__memory decoders[POSERT__MAX_STAGES];
    posert__memory sampling; /* used by prepare.c alone */
    posert__people found[2]; /* of the stage at work and of the one before; the last is the result */
    uint8_t *packed;         /* the picture without gaps, when the caller's has some */
    size_t packed_bytes;
    void *tensor; /* the network's input */
    size_t tensor_bytes;
    double *windows; /* f64 [R][4] px of the frame: where the stage at work looks */
    int64_t windows_room;
    int detect_every, since_detection; /* pictures; the latter 0 = detect on the next one */
    int last;                          /* which of `found` holds the last picture's people */
    int opened, follows; /* follows: `followed` holds where the last picture's person is */
    double followed[4];
};

#endif
