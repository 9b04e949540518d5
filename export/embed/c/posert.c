/* The loop: picture -> people. The twin of runtime/estimate.py; the stages of the model's table say what happens. */
#include "constants.h"
#include "handle.h"
#include "kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SIDE = 32767 }; /* px */

posert_options posert_default_options(void)
{
    const posert_options options = {sizeof(posert_options), NULL, NULL, 0, 1};
    return options;
}

posert_status posert_open(posert **out, const posert_options *options)
{
    posert_options own = posert_default_options();
    if (out == NULL) return POSERT_BAD_ARGUMENT;
    *out = calloc(1, sizeof **out);
    if (*out == NULL) return POSERT_NO_MEMORY;
    for (int i = 0; i < 2; i++) (*out)->found[i].keypoint_count = posert__the_model.keypoint_count;
    if (options != NULL) {
        if (options->struct_size < sizeof(size_t))
            return posert__fail(*out, POSERT_BAD_ARGUMENT, "begin with posert_default_options()");
        memcpy(&own, options, options->struct_size < sizeof own ? options->struct_size : sizeof own);
    }
    const posert__stage *last = &posert__the_model.stages[posert__the_model.stage_count - 1];
    if (own.detect_every < 0 || (own.detect_every > 1 && last->region != POSERT__BOXES))
        return posert__fail(*out, POSERT_BAD_ARGUMENT, "detect_every %d: %s", own.detect_every,
                            own.detect_every < 0 ? "must be 1 or more" : "the model has no detector to leave out");
    (*out)->detect_every = own.detect_every;
    const posert_status status = posert__load(*out, &(*out)->runtime, &own);
    (*out)->opened = status == POSERT_OK;
    return status;
}

void posert_close(posert *p)
{
    if (p == NULL) return;
    posert__unload(&p->runtime);
    for (int i = 0; i < POSERT__MAX_STAGES; i++) posert__free(&p->decoders[i].arena);
    for (int i = 0; i < 2; i++) {
        free(p->found[i].keypoints);
        free(p->found[i].scores);
        free(p->found[i].boxes);
    }
    posert__free(&p->sampling.arena);
    free(p->packed);
    free(p->tensor);
    free(p->windows);
    free(p);
}

/* The buffer, at least so large; its content is lost. NULL without memory. */
static void *at_least(void **buffer, size_t *bytes, size_t wanted)
{
    if (wanted > *bytes || *buffer == NULL) {
        free(*buffer);
        *buffer = malloc(wanted + 8);
        *bytes = *buffer != NULL ? wanted : 0;
    }
    return *buffer;
}

/* The picture as the kernels want it: three bytes a pixel, rows without gaps; copied only if it is not so already. */
static posert_status pack(posert *p, const posert_image *image, posert__pixels *pixels)
{
    if (image == NULL || image->pixels == NULL) return posert__fail(p, POSERT_BAD_ARGUMENT, "no picture");
    const int each = image->format == POSERT_BGRA || image->format == POSERT_RGBA ? 4 : 3;
    const int w = image->width, h = image->height;
    if (w < 1 || h < 1 || w > MAX_SIDE || h > MAX_SIDE || image->stride < (ptrdiff_t)each * w ||
        (int)image->format < POSERT_BGR || (int)image->format > POSERT_RGBA)
        return posert__fail(p, POSERT_BAD_ARGUMENT, "a picture of %d x %d px with %ld bytes a row in format %d", w, h,
                            (long)image->stride, (int)image->format);
    pixels->width = w;
    pixels->height = h;
    pixels->rgb = image->format == POSERT_RGB || image->format == POSERT_RGBA;
    pixels->rows.at = (uint8_t *)image->pixels; /* the kernels only read it */
    pixels->rows.n[0] = h;
    pixels->rows.n[1] = (int64_t)3 * w;
    if (each == 3 && image->stride == (ptrdiff_t)3 * w) return POSERT_OK;
    void *buffer = p->packed;
    uint8_t *to = at_least(&buffer, &p->packed_bytes, (size_t)3 * w * h);
    p->packed = buffer;
    if (to == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for a copy of the picture");
    for (int y = 0; y < h; y++) {
        const uint8_t *from = image->pixels + y * image->stride;
        for (int x = 0; x < w; x++, to += 3, from += each) memcpy(to, from, 3);
    }
    pixels->rows.at = p->packed;
    return POSERT_OK;
}

/* People in pixels of the frame from people in pixels of the network input. */
static void to_frame(posert__people *people, int64_t first, const double window[4], const int input_wh[2])
{
    const int64_t parts = people->keypoint_count;
    for (int axis = 0; axis < 2; axis++) {
        const double scale = (window[2 + axis] - window[axis]) / input_wh[axis], shift = window[axis];
        for (int64_t i = first * parts; i < people->count * parts; i++) {
            float *point = people->keypoints + 3 * i;
            point[axis] = point[2] != 0 ? (float)(point[axis] * scale + shift) : 0;
        }
        for (int64_t i = 2 * first; i < 2 * people->count; i++) {
            float *corner = people->boxes + 2 * i;
            corner[axis] = (float)(corner[axis] * scale + shift);
        }
    }
}

/* The row `row` of every output of a run. */
static void take_row(const posert__stage *stage, const posert__run *run, int64_t row, posert__tensor *one)
{
    for (int i = 0; i < stage->output_count; i++) {
        int64_t size = 1;
        one[i] = run->outputs[i];
        for (int axis = 1; axis < 5 && one[i].n[axis]; axis++) size *= one[i].n[axis];
        one[i].at += row * size;
        one[i].n[0] = 1;
    }
}

static posert_status decode(posert *p, int index, posert__run *run, const double *windows, int64_t rows,
                            const int input_wh[2], posert__people *people)
{
    const posert__stage *stage = &posert__the_model.stages[index];
    posert__tensor one[POSERT__MAX_OUTPUTS];
    posert_status status = POSERT_OK;
    for (int i = 0; i < stage->output_count; i++)
        if (run->outputs[i].n[0] != rows)
            return posert__fail(p, POSERT_FAILED, "the network gave %d rows for %d windows", (int)run->outputs[i].n[0],
                                (int)rows);
    for (int64_t row = 0; row < rows && status == POSERT_OK; row++) {
        const int64_t before = people->count;
        take_row(stage, run, row, one);
        status = stage->decoder->decode(p, stage, &p->decoders[index], one, input_wh, people);
        if (status == POSERT_OK) to_frame(people, before, windows + 4 * row, input_wh);
    }
    return status;
}

/* Samples `rows` windows, runs the network on them and adds the people it shows. */
static posert_status run_rows(posert *p, int index, const posert__pixels *image, const double *windows, int64_t rows,
                              const int input_wh[2], posert__people *people)
{
    const posert__input *input = &posert__the_model.stages[index].input;
    const size_t each = (size_t)3 * input_wh[0] * input_wh[1] * (input->dtype == POSERT__UINT8 ? 1 : 4);
    const int64_t planes[4] = {rows, 3, input_wh[1], input_wh[0]}, pixels[4] = {rows, input_wh[1], input_wh[0], 3};
    posert_status status = POSERT_OK;
    posert__run run;
    char *tensor = at_least(&p->tensor, &p->tensor_bytes, each * (size_t)rows);
    if (tensor == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the network's input");
    for (int64_t row = 0; row < rows && status == POSERT_OK; row++)
        status = posert__sample(p, image, windows + 4 * row, input, input_wh, tensor + each * (size_t)row);
    if (status != POSERT_OK) return status;
    status = posert__infer(p, &p->runtime, index, tensor, input->layout == POSERT__NHWC ? pixels : planes, &run);
    if (status == POSERT_OK) status = decode(p, index, &run, windows, rows, input_wh, people);
    posert__release(&p->runtime, &run);
    return status;
}

/* Where the stage looks: the frame, the last picture's person, or around each of `regions`. Returns how many. */
static int64_t look(posert *p, const posert__stage *stage, const posert__pixels *image, const posert__people *regions,
                    int input_wh[2])
{
    const int64_t count = stage->region == POSERT__BOXES ? regions->count : 1;
    if (count > p->windows_room || p->windows == NULL) {
        free(p->windows);
        p->windows = malloc(sizeof(double) * 4 * (size_t)(count + 8));
        p->windows_room = p->windows ? count + 8 : 0;
        if (p->windows == NULL) return -1;
    }
    if (stage->region == POSERT__BOXES) {
        input_wh[0] = stage->input.size_wh[0];
        input_wh[1] = stage->input.size_wh[1];
        for (int64_t i = 0; i < count; i++) posert__place_box(&stage->input, regions->boxes + 4 * i, p->windows + 4 * i);
        return count;
    }
    posert__place(&stage->input, image->width, image->height, p->windows, input_wh);
    if (stage->region == POSERT__FOLLOW && p->follows) memcpy(p->windows, p->followed, sizeof p->followed);
    return 1;
}

/* Remembers where the first person is, for the next picture. */
static void follow(posert *p, const posert__pixels *image, const posert__people *people)
{
    const posert__model *model = &posert__the_model;
    p->follows = people->count > 0 && model->torso[0] >= 0 &&
                 posert_k_follow_window(people->keypoints, model->keypoint_count, 3, (int64_t *)model->torso, 4,
                                        image->width, image->height, p->followed, 4);
}

static posert_status run_stage(posert *p, int index, const posert__pixels *image, const posert__people *regions,
                               posert__people *people)
{
    const posert__stage *stage = &posert__the_model.stages[index];
    const int last = index == posert__the_model.stage_count - 1;
    const int64_t each = stage->single_row ? 1 : POSERT__MAX_ROWS;
    int input_wh[2];
    posert_status status = posert__grow(p, people, 0);
    const int64_t count = look(p, stage, image, regions, input_wh);
    if (count < 0) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the windows");
    for (int64_t start = 0; start < count && status == POSERT_OK; start += each)
        status = run_rows(p, index, image, p->windows + 4 * start, count - start < each ? count - start : each,
                          input_wh, people);
    if (status == POSERT_OK && stage->suppress != NULL)
        status = stage->suppress->suppress(p, stage->suppress_params, regions, people);
    if (status == POSERT_OK && !last) posert__keep_usable(people, image->width, image->height);
    if (status == POSERT_OK && last && stage->region == POSERT__FOLLOW) follow(p, image, people);
    return status;
}

/* Whether the regions are known without the detector: then they replace the last picture's people. */
static int knows_regions(posert *p, const posert__pixels *image)
{
    const int due = p->since_detection == 0 || p->since_detection >= p->detect_every;
    p->since_detection = due ? 1 : p->since_detection + 1;
    if (!due) posert__next_regions(&p->found[p->last], image->width, image->height);
    return !due;
}

posert_status posert_estimate(posert *p, const posert_image *image, posert_people *people)
{
    posert__pixels pixels;
    if (p == NULL) return POSERT_BAD_ARGUMENT;
    if (!p->opened) return POSERT_BAD_ARGUMENT; /* the text still says why it did not open */
    p->error[0] = 0;
    if (people == NULL) return posert__fail(p, POSERT_BAD_ARGUMENT, "no place for the people");
    memset(people, 0, sizeof *people);
    posert_status status = pack(p, image, &pixels);
    const int known = status == POSERT_OK && knows_regions(p, &pixels);
    for (int i = 0; status == POSERT_OK && i < posert__the_model.stage_count; i++) {
        if (known && posert__the_model.stages[i].region == POSERT__FRAME) continue;
        const posert__people *regions = &p->found[p->last];
        p->last = !p->last;
        p->found[p->last].count = 0;
        p->found[p->last].keypoint_count = i == posert__the_model.stage_count - 1 ? posert__the_model.keypoint_count : 0;
        status = run_stage(p, i, &pixels, regions, &p->found[p->last]);
    }
    if (status != POSERT_OK) {
        posert_reset(p);
        return status;
    }
    const posert__people *found = &p->found[p->last];
    people->count = (int)found->count;
    people->keypoint_count = (int)found->keypoint_count;
    people->keypoints = found->keypoints;
    people->scores = found->scores;
    people->boxes_xyxy = found->boxes;
    return POSERT_OK;
}

void posert_reset(posert *p)
{
    if (p != NULL) p->follows = p->since_detection = 0;
}

const char *posert_error(const posert *p) { return p != NULL ? p->error : "no memory for a handle"; }

int posert_keypoint_count(void) { return posert__the_model.keypoint_count; }

const char *posert_keypoint_name(int keypoint)
{
    return keypoint >= 0 && keypoint < posert__the_model.keypoint_count ? posert__the_model.names[keypoint] : NULL;
}

const char *posert_model_name(void) { return posert__the_model.name; }

const char *posert_version(void) { return posert__the_model.version; }
