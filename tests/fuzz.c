/* Drives the library with sizes, strides and formats that come, for sanitizers and valgrind:
 * fuzz MODEL_FOLDER ONNXRUNTIME_LIBRARY COUNT SEED. Prints how many people it saw in all. */
#include "posert.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned state;

static unsigned draw(unsigned limit)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % limit;
}

/* One picture of noise in memory of exactly its size, so that a read beyond it is noticed. */
static posert_status one(posert *p, long *people_seen)
{
    posert_image image = {NULL, 1 + (int)draw(200), 1 + (int)draw(200), 0, (posert_format)draw(4)};
    const int each = image.format >= POSERT_BGRA ? 4 : 3;
    posert_people people;
    if (draw(20) == 0) image.width = 1;
    if (draw(20) == 0) image.height = 1;
    image.stride = (ptrdiff_t)each * image.width + (draw(2) ? (ptrdiff_t)draw(40) : 0);
    const size_t bytes = (size_t)image.stride * (size_t)(image.height - 1) + (size_t)each * (size_t)image.width;
    unsigned char *pixels = malloc(bytes);
    const unsigned bright = 1 + draw(255);
    for (size_t i = 0; pixels != NULL && i < bytes; i++) pixels[i] = (unsigned char)draw(bright);
    image.pixels = pixels;
    const posert_status status = posert_estimate(p, &image, &people);
    for (int i = 0; status == POSERT_OK && i < people.count * people.keypoint_count * 3; i++)
        *people_seen += people.keypoints[i] != people.keypoints[i];
    if (status == POSERT_OK) *people_seen += people.count;
    free(pixels);
    if (draw(30) == 0) posert_reset(p);
    return status;
}

/* What must be refused and not crash. */
static int refused(posert *p)
{
    static const unsigned char pixel[4] = {0};
    posert_people people;
    const posert_image wrong[] = {
        {NULL, 8, 8, 24, POSERT_RGB},    {pixel, 0, 1, 3, POSERT_RGB},         {pixel, 1, -1, 3, POSERT_RGB},
        {pixel, 1, 1, 2, POSERT_RGB},    {pixel, 1, 1, 3, POSERT_RGBA},        {pixel, 1, 1, -3, POSERT_RGB},
        {pixel, 40000, 1, 120000, POSERT_RGB}, {pixel, 1, 1, 3, (posert_format)7},
    };
    int count = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        count += posert_estimate(p, &wrong[i], &people) == POSERT_BAD_ARGUMENT && posert_error(p)[0] != 0;
    count += posert_estimate(p, NULL, &people) == POSERT_BAD_ARGUMENT;
    count += posert_estimate(NULL, &wrong[0], &people) == POSERT_BAD_ARGUMENT;
    count += posert_open(NULL, NULL) == POSERT_BAD_ARGUMENT;
    count += posert_keypoint_name(-1) == NULL && posert_keypoint_name(posert_keypoint_count()) == NULL;
    return count == 12;
}

int main(int count, char **arguments)
{
    posert_options options = posert_default_options();
    posert *p = NULL;
    long seen = 0;
    if (count != 5) return 2;
    options.folder = arguments[1];
    options.onnxruntime = arguments[2];
    options.threads = 1;
    state = (unsigned)atoi(arguments[4]);
    posert_status status = posert_open(&p, &options);
    int good = status == POSERT_OK && refused(p);
    for (int i = 0; good && status == POSERT_OK && i < atoi(arguments[3]); i++) status = one(p, &seen);
    if (status != POSERT_OK) fprintf(stderr, "error: %s\n", posert_error(p));
    if (!good) fprintf(stderr, "error: something wrong was not refused\n");
    printf("%ld\n", seen);
    posert_close(p);
    return !(good && status == POSERT_OK);
}
