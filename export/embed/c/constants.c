/* What a network takes besides the picture, as tensors. The twin of runtime/constants.py. */
#include "internal.h"

#include <string.h>

int64_t posert__size(posert_type type)
{
    static const int64_t sizes[] = {4, 1, 4, 2, 8, 8};
    return sizes[type];
}

/* The bits of the nearest float16, half way the even one. */
static uint16_t half_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 65536 and more; nothing here is not a number */
    if (rest >= 0x38800000u) return (uint16_t)(sign | (rest - 0x38000000u + 0xfffu + (rest >> 13 & 1u)) >> 13);
    const uint32_t shift = 126u - (rest >> 23) < 31u ? 126u - (rest >> 23) : 31u, whole = (rest & 0x7fffffu) | 0x800000u;
    return (uint16_t)(sign | (whole + (1u << (shift - 1u)) - 1u + (whole >> shift & 1u)) >> shift);
}

static void write_number(void *to, posert_type type, double number)
{
    const float single = (float)number;
    const int64_t whole = type == POSERT_INT64 ? (int64_t)number : 0;
    const int32_t small = type == POSERT_INT32 ? (int32_t)number : 0;
    const uint8_t byte = type == POSERT_UINT8 ? (uint8_t)number : 0;
    const uint16_t half = half_of(single);
    const void *const froms[] = {&single, &byte, &small, &half, &whole, &number};
    memcpy(to, froms[type], (size_t)posert__size(type));
}

static int64_t elements(const posert__constant *constant, int64_t rows)
{
    int64_t count = constant->per_row ? rows : 1;
    for (int axis = 0; axis < constant->axes; axis++) count *= constant->dims[axis];
    return count;
}

/* The bytes that it takes, a multiple of 8. */
static int64_t room(const posert__constant *constant, int64_t rows)
{
    return (elements(constant, rows) * posert__size(constant->type) + 7) / 8 * 8;
}

static void fill(const posert__constant *from, const posert_feed *feed, const int64_t sides[3], posert_constant *to,
                 char *data)
{
    const int64_t count = elements(from, feed->dims[0]), size = posert__size(from->type);
    *to = (posert_constant){from->name, from->type, from->axes + from->per_row, {0}, data};
    if (from->per_row) to->dims[0] = feed->dims[0];
    for (int axis = 0; axis < from->axes; axis++) to->dims[axis + from->per_row] = from->dims[axis];
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = i % from->numbers.count;
        write_number(data + i * size, from->type, from->sides[at] ? (double)sides[from->sides[at]] : from->numbers.at[at]);
    }
}

posert_status posert__feed_constants(posert *p, const posert__stage *stage, posert_feed *feed)
{
    const int64_t sides[3] = {0, feed->dims[stage->nhwc ? 2 : 3], feed->dims[stage->nhwc ? 1 : 2]};
    int64_t at = (int64_t)sizeof(posert_constant) * stage->constant_count, bytes = at;
    if (stage->constant_count == 0) return POSERT_OK;
    for (int i = 0; i < stage->constant_count; i++) bytes += room(&stage->constants[i], feed->dims[0]);
    posert_constant *constants = posert__at_least(&p->constants, bytes);
    if (constants == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the network's constants");
    for (int i = 0; i < stage->constant_count; at += room(&stage->constants[i], feed->dims[0]), i++)
        fill(&stage->constants[i], feed, sides, &constants[i], (char *)constants + at);
    feed->constant_count = stage->constant_count;
    feed->constants = constants;
    return POSERT_OK;
}
