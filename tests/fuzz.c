/* Drives the library with what comes, for sanitizers and valgrind:
 * fuzz MODEL_FOLDER ONNXRUNTIME_LIBRARY PICTURES SEED [SPOILT_FOLDER MODEL_FILE DAMAGES]
 * PICTURES of any size, stride and format, some of them refused; then DAMAGES damaged copies of MODEL_FILE in
 * SPOILT_FOLDER, none of which may open. Prints how many people it saw in all, and a line for each thing that is wrong. */
#include "posert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned state;
static int wrong;

static unsigned draw(unsigned limit)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % limit;
}

static void must(int true_, const char *what)
{
    if (!true_) fprintf(stderr, "wrong: %s\n", what);
    wrong += !true_;
}

/* Noise, black or white in memory of exactly the picture's size, so that a read beyond it is noticed; to be freed. */
static unsigned char *pixels_of(size_t bytes)
{
    unsigned char *pixels = malloc(bytes);
    const unsigned kind = draw(8), bright = 1 + draw(255);
    for (size_t i = 0; pixels != NULL && i < bytes; i++)
        pixels[i] = (unsigned char)(kind == 0 ? 0 : kind == 1 ? 255 : draw(bright));
    return pixels;
}

static int side(void)
{
    const unsigned kind = draw(40);
    return kind == 0 ? 1 : kind == 1 ? 2 : kind == 2 ? 1 + (int)draw(3000) : 1 + (int)draw(200);
}

static void one(posert *p, long *people_seen)
{
    posert_image image = {NULL, side(), side(), 0, (posert_format)draw(4)};
    const int each = image.format >= POSERT_BGRA ? 4 : 3;
    posert_people people;
    if (image.width > 200) image.height = 1 + (int)draw(9);
    if (image.height > 200) image.width = 1 + (int)draw(9);
    image.stride = (ptrdiff_t)each * image.width + (draw(2) ? (ptrdiff_t)draw(40) : 0);
    unsigned char *pixels =
        pixels_of((size_t)image.stride * (size_t)(image.height - 1) + (size_t)each * (size_t)image.width);
    image.pixels = pixels;
    must(posert_estimate(p, &image, &people) == POSERT_OK, posert_error(p));
    must(people.count >= 0 && people.keypoint_count == posert_keypoint_count(), "the counts");
    for (int i = 0; i < people.count * people.keypoint_count * 3; i++)
        *people_seen += people.keypoints[i] != people.keypoints[i]; /* reads all of it */
    for (int i = 0; i < people.count * 4; i++) *people_seen += people.boxes_xyxy[i] != people.boxes_xyxy[i];
    for (int i = 0; i < people.count; i++) *people_seen += people.scores[i] == people.scores[i];
    free(pixels);
    if (draw(30) == 0) posert_reset(p);
}

/* Arguments that the header forbids: refused, with a text. */
static void refuse_one(posert *p)
{
    static const unsigned char pixel[4] = {0};
    static const posert_image bad[] = {
        {NULL, 8, 8, 24, POSERT_RGB},          {pixel, 0, 1, 3, POSERT_RGB},   {pixel, 1, -1, 3, POSERT_RGB},
        {pixel, 1, 1, 2, POSERT_RGB},          {pixel, 1, 1, 3, POSERT_RGBA},  {pixel, 1, 1, -3, POSERT_RGB},
        {pixel, 40000, 1, 120000, POSERT_RGB}, {pixel, 1, 32768, 3, POSERT_BGR}, {pixel, 1, 1, 0, POSERT_BGR},
        {pixel, 1, 1, 3, (posert_format)7},    {pixel, 1, 1, 3, (posert_format)-1},
        {pixel, 2147483647, 2147483647, 3, POSERT_BGR}, {pixel, -2147483647 - 1, 1, 3, POSERT_BGR},
    };
    posert_people people;
    const posert_image *image = &bad[draw(sizeof bad / sizeof *bad)];
    must(posert_estimate(p, image, &people) == POSERT_BAD_ARGUMENT && posert_error(p)[0], "a bad picture");
    must(people.count == 0 && people.keypoints == NULL, "people of a bad picture");
    must(posert_estimate(p, NULL, &people) == POSERT_BAD_ARGUMENT && posert_error(p)[0], "no picture");
    must(posert_estimate(p, image, NULL) == POSERT_BAD_ARGUMENT && posert_error(p)[0], "no people");
    must(posert_estimate(NULL, image, &people) == POSERT_BAD_ARGUMENT, "no handle");
    must(posert_open(NULL, NULL) == POSERT_BAD_ARGUMENT, "nowhere to open to");
    must(posert_keypoint_name(-1) == NULL && posert_keypoint_name(posert_keypoint_count()) == NULL, "no keypoint");
    must(posert_error(NULL)[0] != 0, "the error of no handle");
    posert_reset(NULL);
    posert_close(NULL);
}

/* Opening must fail with this status and a text; the handle can still be asked, used in vain and closed. */
static void refuse_open(const posert_options *options, posert_status expected)
{
    static const unsigned char pixel[3] = {0};
    const posert_image image = {pixel, 1, 1, 3, POSERT_RGB};
    posert *p = NULL;
    posert_people people;
    must(posert_open(&p, options) == expected, options != NULL && options->folder ? options->folder : "an opening");
    must(p != NULL && posert_error(p)[0] != 0, "a failed handle says why");
    must(posert_estimate(p, &image, &people) == POSERT_BAD_ARGUMENT, "a handle that is not open");
    posert_reset(p);
    posert_close(p);
}

static void refuse_options(const posert_options *good)
{
    static const char *const libraries[] = {"", "libm.so.6", "/dev/null", "/", "/absent/libonnxruntime.so"};
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        posert_options options = *good;
        options.onnxruntime = libraries[i];
        refuse_open(&options, POSERT_NO_RUNTIME);
    }
    posert_options options = *good;
    options.struct_size = draw(sizeof(size_t));
    refuse_open(&options, POSERT_BAD_ARGUMENT);
    options = *good;
    options.detect_every = -(int)draw(9) - 1;
    refuse_open(&options, POSERT_BAD_ARGUMENT);
    options = *good;
    options.folder = "/absent";
    refuse_open(&options, POSERT_BAD_MODEL);
    char *name = calloc(1, 10001);
    if (name == NULL) return;
    memset(name, 'x', 10000);
    options.folder = name;
    refuse_open(&options, POSERT_BAD_MODEL);
    options.folder = good->folder;
    options.onnxruntime = name;
    refuse_open(&options, POSERT_NO_RUNTIME);
    free(name);
}

/* A copy of the model, cut, lengthened, emptied or with some bits turned. */
static int spoil(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    long size = in != NULL && fseek(in, 0, SEEK_END) == 0 ? ftell(in) : -1;
    unsigned char *data = size > 0 ? malloc((size_t)size + 64) : NULL;
    int done = 0;
    if (data != NULL && out != NULL && fseek(in, 0, SEEK_SET) == 0 && fread(data, 1, (size_t)size, in) == (size_t)size) {
        const unsigned kind = draw(4), bits = 1 + draw(9);
        size_t kept = (size_t)size;
        if (kind == 0) kept = draw((unsigned)size);
        else if (kind == 1) memset(data + size, (int)draw(256), 64), kept += 1 + draw(64);
        else if (kind == 2) data[draw((unsigned)size)] ^= (unsigned char)(1u << draw(8));
        else for (unsigned i = 0; i < bits; i++) data[draw((unsigned)size)] = (unsigned char)(i ^ data[0] ^ 0xa5);
        done = fwrite(data, 1, kept, out) == kept;
    }
    free(data);
    if (in != NULL) fclose(in);
    if (out != NULL) fclose(out);
    return done;
}

static void refuse_damaged(const posert_options *good, const char *folder, const char *file, int count)
{
    char from[4096], to[4096];
    posert_options options = *good;
    options.folder = folder;
    snprintf(from, sizeof from, "%s/%s", good->folder, file);
    snprintf(to, sizeof to, "%s/%s", folder, file);
    for (int i = 0; i < count; i++) {
        must(spoil(from, to), "a damaged copy can be written");
        refuse_open(&options, POSERT_BAD_MODEL);
    }
}

int main(int count, char **arguments)
{
    posert_options options = posert_default_options();
    posert *p = NULL;
    long seen = 0;
    if (count != 5 && count != 8) return 2;
    options.folder = arguments[1];
    options.onnxruntime = arguments[2];
    options.threads = 1;
    state = (unsigned)atoi(arguments[4]);
    must(posert_open(&p, &options) == POSERT_OK, posert_error(p));
    for (int i = 0; !wrong && i < atoi(arguments[3]); i++) {
        one(p, &seen);
        if (i % 50 == 0) refuse_one(p);
    }
    posert_close(p);
    if (!wrong && count == 8) {
        refuse_options(&options);
        refuse_damaged(&options, arguments[5], arguments[6], atoi(arguments[7]));
    }
    printf("%ld\n", seen);
    return wrong != 0;
}
