/* Who raises a hand in raw RGB frames on standard input:
 *
 *     posert bundle nano -o nano_c && make -C nano_c
 *     cc -Inano_c raised.c -Lnano_c -lposert -Wl,-rpath,nano_c -o raised
 *     ffmpeg -i walk.mp4 -f rawvideo -pix_fmt rgb24 - | ./raised 640 360 nano_c [ONNXRUNTIME_LIBRARY]
 */
#include "posert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int keypoint(const char *name)
{
    for (int k = 0; k < posert_keypoint_count(); k++)
        if (strcmp(posert_keypoint_name(k), name) == 0) return k;
    return -1;
}

int main(int count, char **arguments)
{
    if (count < 4) {
        fprintf(stderr, "usage: %s WIDTH HEIGHT MODEL_FOLDER [ONNXRUNTIME_LIBRARY]\n", arguments[0]);
        return 2;
    }
    const int width = atoi(arguments[1]), height = atoi(arguments[2]);
    const int nose = keypoint("nose"), wrists[2] = {keypoint("left_wrist"), keypoint("right_wrist")};
    if (width < 1 || height < 1 || nose < 0 || wrists[0] < 0 || wrists[1] < 0) return 2;
    const size_t bytes = (size_t)3 * (size_t)width * (size_t)height;
    unsigned char *pixels = malloc(bytes);
    posert_options options = posert_default_options();
    options.folder = arguments[3];
    options.onnxruntime = count > 4 ? arguments[4] : NULL;
    posert *p = NULL;
    posert_status status = pixels == NULL ? POSERT_NO_MEMORY : posert_open(&p, &options);
    for (int frame = 0; status == POSERT_OK && fread(pixels, 1, bytes, stdin) == bytes; frame++) {
        const posert_image image = {pixels, width, height, (ptrdiff_t)3 * width, POSERT_RGB};
        posert_people people;
        status = posert_estimate(p, &image, &people);
        for (int n = 0; status == POSERT_OK && n < people.count; n++) {
            const float *points = people.keypoints + (size_t)3 * (size_t)n * (size_t)people.keypoint_count;
            for (int side = 0; side < 2; side++)
                if (points[3 * nose + 2] > 0 && points[3 * wrists[side] + 2] > 0 &&
                    points[3 * wrists[side] + 1] < points[3 * nose + 1])
                    printf("frame %d: person %d, %s hand\n", frame, n, side ? "right" : "left");
        }
    }
    if (status != POSERT_OK) fprintf(stderr, "error: %s\n", p == NULL ? "no memory" : posert_error(p));
    posert_close(p);
    free(pixels);
    return status != POSERT_OK;
}
