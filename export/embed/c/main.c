/* The people of some pictures as JSON lines:  ./posert_example MODEL_FOLDER ONNXRUNTIME_LIBRARY|- PICTURE.ppm... */
#include "posert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The pixels of a binary PPM (P6), to be freed; NULL = it cannot be read. */
static unsigned char *read_ppm(const char *path, int *width, int *height)
{
    FILE *file = fopen(path, "rb");
    unsigned char *pixels = NULL;
    int most = 0;
    if (file == NULL) return NULL;
    if (fscanf(file, "P6 %d %d %d", width, height, &most) == 3 && most == 255 && *width > 0 && *height > 0 &&
        *width < 32768 && *height < 32768 && fgetc(file) != EOF) {
        const size_t bytes = (size_t)3 * (size_t)*width * (size_t)*height;
        pixels = malloc(bytes);
        if (pixels != NULL && fread(pixels, 1, bytes, file) != bytes) {
            free(pixels);
            pixels = NULL;
        }
    }
    fclose(file);
    return pixels;
}

static void print_numbers(const float *numbers, int count)
{
    for (int i = 0; i < count; i++) {
        if (isfinite(numbers[i])) printf("%s%.9g", i ? "," : "[", (double)numbers[i]);
        else printf("%snull", i ? "," : "["); /* JSON has no infinity */
    }
    printf("]");
}

static void print_people(const posert_people *people)
{
    const int parts = people->keypoint_count;
    printf("{\"people\":[");
    for (int n = 0; n < people->count; n++) {
        printf("%s{\"score\":%.9g,\"box_xyxy\":", n ? "," : "", (double)people->scores[n]);
        print_numbers(people->boxes_xyxy + 4 * n, 4);
        printf(",\"keypoints\":[");
        for (int k = 0; k < parts; k++) {
            if (k) printf(",");
            print_numbers(people->keypoints + 3 * (n * parts + k), 3);
        }
        printf("]}");
    }
    printf("]}\n");
}

static int run(posert *p, int count, char **paths)
{
    for (int i = 0; i < count; i++) {
        posert_image image = {NULL, 0, 0, 0, POSERT_RGB};
        posert_people people;
        unsigned char *pixels = read_ppm(paths[i], &image.width, &image.height);
        if (pixels == NULL) {
            fprintf(stderr, "error: %s is no binary PPM picture\n", paths[i]);
            return 1;
        }
        image.pixels = pixels;
        image.stride = (ptrdiff_t)3 * image.width;
        const posert_status status = posert_estimate(p, &image, &people);
        if (status == POSERT_OK) print_people(&people);
        else fprintf(stderr, "error: %s\n", posert_error(p));
        free(pixels);
        if (status != POSERT_OK) return 1;
    }
    return 0;
}

int main(int count, char **arguments)
{
    posert_options options = posert_default_options();
    posert *p = NULL;
    if (count < 3) {
        fprintf(stderr, "usage: %s MODEL_FOLDER ONNXRUNTIME_LIBRARY|- PICTURE.ppm...\n", arguments[0]);
        return 2;
    }
    options.folder = arguments[1];
    options.onnxruntime = strcmp(arguments[2], "-") == 0 ? NULL : arguments[2];
    options.threads = 1;
    int failed = 1;
    if (posert_open(&p, &options) == POSERT_OK) failed = run(p, count - 3, arguments + 3);
    else fprintf(stderr, "error: %s\n", posert_error(p));
    posert_close(p);
    return failed;
}
