/* Runs the library without ONNX Runtime on what was written down before: steps RECORD
 * A record has, for each picture: width, height, pixels (RGB); for each network call 1, its stage, the bytes of its input,
 * which must come again, and the outputs (how many; each: axes, 5 dims, floats); then 0, the number of people and their
 * keypoints, scores and boxes, which must come again to the bit. Integers have 8 bytes. Prints how many people it saw. */
#include "posert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *record;

static int64_t number(void)
{
    int64_t value = 0;
    if (fread(&value, sizeof value, 1, record) != 1) exit(3);
    return value;
}

static void *bytes(size_t count)
{
    void *data = malloc(count + 1);
    if (data == NULL || fread(data, 1, count, record) != count) exit(3);
    return data;
}

static void must(int true_, const char *what)
{
    if (true_) return;
    printf("wrong: %s\n", what);
    exit(1);
}

static void same(const void *got, size_t count, const char *what)
{
    void *expected = bytes(count);
    must(count == 0 || memcmp(got, expected, count) == 0, what);
    free(expected);
}

static void give(posert *p)
{
    posert_tensor outputs[8];
    const int count = (int)number();
    memset(outputs, 0, sizeof outputs);
    for (int i = 0; i < count; i++) {
        size_t size = sizeof(float);
        outputs[i].axes = (int)number();
        for (int axis = 0; axis < 5; axis++) {
            outputs[i].dims[axis] = number();
            if (axis < outputs[i].axes) size *= (size_t)outputs[i].dims[axis];
        }
        outputs[i].data = bytes(size);
    }
    must(posert_give(p, outputs, count) == POSERT_OK, posert_error(p));
    for (int i = 0; i < count; i++) free((void *)outputs[i].data);
}

static int picture(posert *p)
{
    const int width = (int)number(), height = (int)number();
    unsigned char *pixels = bytes((size_t)3 * (size_t)width * (size_t)height);
    const posert_image image = {pixels, width, height, (ptrdiff_t)3 * width, POSERT_RGB};
    posert_feed feed;
    posert_people people;
    must(posert_begin(p, &image) == POSERT_OK, posert_error(p));
    must(posert_next(p, &feed, &people) == POSERT_OK, posert_error(p));
    while (number() == 1) {
        must(feed.data != NULL && feed.stage == number(), "the stage");
        static const int sizes[] = {4, 1, 4, 2};
        const size_t size = (size_t)number();
        must(size == (size_t)(feed.dims[0] * feed.dims[1] * feed.dims[2] * feed.dims[3] * sizes[feed.type]),
             "the input's size");
        same(feed.data, size, "the input");
        give(p);
        must(posert_next(p, &feed, &people) == POSERT_OK, posert_error(p));
    }
    must(feed.data == NULL && people.count == number(), "the number of people");
    same(people.keypoints, sizeof(float) * 3 * (size_t)(people.count * people.keypoint_count), "keypoints");
    same(people.scores, sizeof(float) * (size_t)people.count, "scores");
    same(people.boxes_xyxy, sizeof(float) * 4 * (size_t)people.count, "boxes");
    free(pixels);
    return people.count;
}

int main(int count, char **arguments)
{
    posert_options options = posert_default_options();
    posert *p = NULL;
    int seen = 0, next;
    record = count > 1 ? fopen(arguments[1], "rb") : NULL;
    if (record == NULL) return 2;
    options.no_runtime = 1;
    must(posert_open(&p, &options) == POSERT_OK, "it opens");
    while ((next = fgetc(record)) != EOF) {
        ungetc(next, record);
        seen += picture(p);
    }
    posert_close(p);
    fclose(record);
    printf("%d\n", seen);
    return 0;
}
