/* expf, to the last bit as glibc, musl and Apple's libraries since 2018 have it, so that a browser finds the same people:
 * 2^(k / 32) from a table, times a polynomial of the rest, in double precision. The method and the coefficients are those
 * of Arm's Optimized Routines (expf.c, exp2f_data.c), the table is computed by wheels/wasm.py. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "exp2_table.h" /* EXP2_TABLE: of 2^(i / 32), i from 0 to 31, the bits less i / 32 of an exponent */

float expf(float x)
{
    static const uint64_t table[32] = {EXP2_TABLE};
    static const double steps = 0x1.71547652b82fep+0 * 32, nearest = 0x1.8p+52; /* 32 / ln 2; adding it rounds */
    static const double cubic = 0x1.c6af84b912394p-5 / 32 / 32 / 32, square = 0x1.ebfce50fac4f3p-3 / 32 / 32,
                        linear = 0x1.62e42ff0c52d6p-1 / 32;
    if (x != x) return x;
    if (x > 0x1.62e42ep6f) return HUGE_VALF; /* 88.72: beyond the largest float */
    if (x < -0x1.9fe368p6f) return 0;        /* -103.97: below half of the smallest one */
    const double scaled = steps * x, rounded = scaled + nearest, rest = scaled - (rounded - nearest);
    uint64_t bits;
    double scale;
    memcpy(&bits, &rounded, sizeof bits);
    bits = table[bits % 32] + (bits << 47);
    memcpy(&scale, &bits, sizeof scale);
    const double high = cubic * rest + square;
    return (float)((high * (rest * rest) + (linear * rest + 1)) * scale);
}
