/* The loop: picture -> people, in steps, so that the network may run anywhere. The twin of runtime/loop.py; the stages of
 * the model's table say what happens. */
#include "internal.h"
#include "kernels.h"

#include <float.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SIDE = 32767 }; /* px */
#define MOST_ELEMENTS ((int64_t)1 << 40)

posert_status posert__fail(posert *p, posert_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->error, sizeof p->error, format, arguments);
    va_end(arguments);
    return status;
}

void *posert__at_least(posert__buffer *buffer, int64_t bytes)
{
    if (buffer->at != NULL && bytes >= 0 && (uint64_t)bytes <= buffer->bytes) return buffer->at;
    free(buffer->at);
    buffer->at = bytes >= 0 && (uint64_t)bytes < SIZE_MAX / 2 ? malloc((size_t)bytes + 8) : NULL;
    buffer->bytes = buffer->at != NULL ? (size_t)bytes : 0;
    return buffer->at;
}

posert_options posert_default_options(void)
{
    const double *follow = posert__the_model.follow.at;
    return (posert_options){sizeof(posert_options), NULL, NULL, 0, 1, 0,
                            {(posert_follow_rule)(int)follow[POSERT__RULE], follow[POSERT__SHARE],
                             follow[POSERT__SLACK], (int)follow[POSERT__PATIENCE], follow[POSERT__CUT]}};
}

posert *posert__new(void)
{
    posert *p = calloc(1, sizeof *p + (size_t)posert__the_model.stage_count * sizeof *p->benches);
    return p;
}

/* The caller's options, of this version or an older one. */
static posert_status read_options(posert *p, const posert_options *given, posert_options *options)
{
    *options = posert_default_options();
    if (given != NULL && given->struct_size < sizeof(size_t))
        return posert__fail(p, POSERT_BAD_ARGUMENT, "begin with posert_default_options()");
    if (given != NULL && given->struct_size > sizeof *options)
        return posert__fail(p, POSERT_BAD_ARGUMENT, "options of %lu bytes are of a newer posert.h than this library %s",
                            (unsigned long)given->struct_size, posert__the_model.version);
    if (given != NULL) memcpy(options, given, given->struct_size);
    if (options->threads < 0)
        return posert__fail(p, POSERT_BAD_ARGUMENT, "threads %d: must be 0 or more", options->threads);
    const posert_follow *follow = &options->follow;
    if ((int)follow->rule < POSERT_FOLLOW_STEADY || follow->rule > POSERT_FOLLOW_TUTORIAL)
        return posert__fail(p, POSERT_BAD_ARGUMENT, "follow.rule %d: there is no such rule", (int)follow->rule);
    if (!(follow->share >= 0 && follow->share <= 1 && follow->slack >= 0 && follow->slack <= 1))
        return posert__fail(p, POSERT_BAD_ARGUMENT, "follow.share %g, follow.slack %g: must be from 0 to 1", follow->share,
                            follow->slack);
    if (!(follow->patience >= 1 && follow->cut >= 0 && follow->cut <= DBL_MAX))
        return posert__fail(p, POSERT_BAD_ARGUMENT, "follow.patience %d, follow.cut %g: must be at least 1, and 0",
                            follow->patience, follow->cut);
    if (options->detect_every < 0)
        return posert__fail(p, POSERT_BAD_ARGUMENT, "detect_every %d: must be 0 or more", options->detect_every);
    if (options->detect_every > 1 && posert__the_model.stages[posert__the_model.body_count - 1].turn.count > 0)
        return posert__fail(p, POSERT_BAD_ARGUMENT, "detect_every %d: the model turns its regions by keypoints that only its "
                            "detector finds", options->detect_every);
    if (options->detect_every > 1 && posert__the_model.body_count == 1)
        return posert__fail(p, POSERT_BAD_ARGUMENT, "detect_every %d: the model has no detector to leave out",
                            options->detect_every);
    return POSERT_OK;
}

posert_status posert_open(posert **out, const posert_options *options)
{
    posert_options own;
    if (out == NULL) return POSERT_BAD_ARGUMENT;
    *out = posert__new();
    if (*out == NULL) return POSERT_NO_MEMORY;
    posert_status status = read_options(*out, options, &own);
    (*out)->detect_every = own.detect_every;
    if (status == POSERT_OK) posert__set_follow(*out, own.follow);
    if (status == POSERT_OK && !own.no_runtime)
#ifdef POSERT_WITHOUT_ORT
        status = posert__fail(*out, POSERT_NO_RUNTIME, "this library loads no ONNX Runtime: set no_runtime");
#else
        status = posert__load(*out, &own);
#endif
    (*out)->opened = status == POSERT_OK;
    return status;
}

void posert_close(posert *p)
{
    if (p == NULL) return;
#ifndef POSERT_WITHOUT_ORT
    posert__unload(p->runtime);
#endif
    for (int i = 0; i < posert__the_model.stage_count; i++) free(p->benches[i].workspace.at);
    for (int i = 0; i < 5; i++) {
        posert__people *people = i < 3 ? &p->found[i] : &p->whole[i - 3];
        free(people->keypoints);
        free(people->scores);
        free(people->boxes);
        free(people->region_boxes);
        free(people->region_scores);
    }
    free(p->packed.at);
    free(p->tensor.at);
    free(p->constants.at);
    for (int i = 0; i < POSERT__ROLES; i++) free(p->widened[i].at);
    free(p->windows.at);
    free(p->owners.at);
    free(p->sampling.at);
    free(p->ruling.at);
    free(p->following.at);
    free(p->memory[0].at);
    free(p->memory[1].at);
    free(p->scene.at);
    free(p);
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
    const int rgb = image->format == POSERT_RGB || image->format == POSERT_RGBA;
    *pixels = (posert__pixels){(uint8_t *)image->pixels, w, h, rgb}; /* the kernels only read it */
    if (each == 3 && image->stride == (ptrdiff_t)3 * w) return POSERT_OK;
    uint8_t *to = posert__at_least(&p->packed, (int64_t)3 * w * h);
    if (to == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for a copy of the picture");
    pixels->at = to;
    for (int y = 0; y < h; y++) {
        const uint8_t *from = image->pixels + y * image->stride;
        for (int x = 0; x < w; x++, to += 3, from += each) memcpy(to, from, 3);
    }
    return POSERT_OK;
}

/* The end of a call: a failed one loses the picture and forgets the last one. */
static posert_status done(posert *p, posert_status status)
{
    if (status != POSERT_OK) posert_reset(p);
    return status;
}

posert_status posert_begin(posert *p, const posert_image *image) { return posert__begin(p, image, NULL, 0); }

posert_status posert__begin(posert *p, const posert_image *image, const float *boxes, int count)
{
    if (p == NULL || !p->opened) return POSERT_BAD_ARGUMENT; /* the text still says why it did not open */
    p->error[0] = 0;
    p->turn.state = POSERT__IDLE;
    posert_status status = pack(p, image, &p->turn.pixels);
    int known = p->turn.given = boxes != NULL;
    if (status == POSERT_OK)
        status = boxes != NULL ? posert__take_boxes(p, boxes, count) : posert__know_regions(p, &known);
    if (status == POSERT_OK) {
        p->turn.stage = known && posert__the_model.stages[0].region == POSERT__FRAME ? 1 : 0;
        p->turn.state = POSERT__BEGUN;
        status = posert__enter(p);
    }
    return done(p, status);
}

/* Samples a window to the row of the input tensor that begins at `row`. */
static posert_status sample(posert *p, const posert__stage *stage, double *window, void *row)
{
    const posert__pixels *pixels = &p->turn.pixels;
    const int64_t w = p->turn.input_wh[0], h = p->turn.input_wh[1], size = 3 * w * h;
    const int64_t raw = stage->type == POSERT_UINT8 ? size : stage->type == POSERT_FLOAT16 ? 2 * size : 0;
    const int64_t bytes = posert_k_sample_workspace(POSERT__1(stage->place.at, stage->place.count), pixels->width,
                                                    pixels->height, POSERT__1(window, POSERT__WINDOW), w, h);
    if (posert__at_least(&p->sampling, bytes) == NULL)
        return posert__fail(p, POSERT_NO_MEMORY, "no memory to sample the picture");
    const int64_t found = posert_k_sample_window(
        pixels->rgb, 0, POSERT__2(pixels->at, pixels->height, 3 * pixels->width), POSERT__1(window, POSERT__WINDOW),
        POSERT__1(stage->place.at, stage->place.count), w, h, POSERT__1(p->sampling.at, bytes),
        POSERT__1(row, stage->type == POSERT_FLOAT32 ? size : 0), POSERT__1(row, raw),
        POSERT__1(row, stage->type == POSERT_INT32 ? size : 0));
    return found >= 0 ? POSERT_OK : posert__fail(p, POSERT_FAILED, "the picture does not fit the network's input");
}

/* The next rows of the turn's stage, sampled. */
static posert_status feed_rows(posert *p, posert_feed *feed)
{
    posert__turn *turn = &p->turn;
    const posert__stage *stage = &posert__the_model.stages[turn->stage];
    const int64_t left = turn->count - turn->start, w = turn->input_wh[0], h = turn->input_wh[1];
    const int64_t each = 3 * w * h * posert__size(stage->type);
    posert_status status = POSERT_OK;
    turn->rows = left < stage->most_rows ? left : stage->most_rows;
    char *tensor = posert__at_least(&p->tensor, each * turn->rows);
    if (tensor == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the network's input");
    for (int64_t row = 0; row < turn->rows && status == POSERT_OK; row++)
        status = sample(p, stage, (double *)p->windows.at + POSERT__WINDOW * (turn->start + row), tensor + each * row);
    *feed = (posert_feed){turn->stage, stage->file, stage->input, stage->type,
                          {turn->rows, stage->nhwc ? h : 3, stage->nhwc ? w : h, stage->nhwc ? 3 : w},
                          status == POSERT_OK ? tensor : NULL, stage->output_count, stage->outputs, 0, NULL};
    if (status == POSERT_OK) status = posert__feed_constants(p, stage, feed);
    turn->state = POSERT__FED;
    return status;
}

posert_status posert_next(posert *p, posert_feed *feed, posert_people *people)
{
    if (p == NULL || !p->opened) return POSERT_BAD_ARGUMENT;
    p->error[0] = 0;
    if (feed != NULL) memset(feed, 0, sizeof *feed);
    if (people != NULL) memset(people, 0, sizeof *people);
    posert_status status = POSERT_OK;
    if (feed == NULL || people == NULL || p->turn.state != POSERT__BEGUN)
        status = posert__fail(p, POSERT_BAD_ARGUMENT, feed == NULL      ? "no place for the feed"
                                                      : people == NULL ? "no place for the people"
                                                                       : "posert_next comes after posert_begin or posert_give");
    while (status == POSERT_OK && p->turn.start >= p->turn.count) {
        const posert__model *model = &posert__the_model;
        status = posert__leave(p);
        if (status == POSERT_OK && ++p->turn.stage == model->body_count && model->body_count < model->stage_count)
            status = posert__begin_parts(p);
        if (status != POSERT_OK) break;
        if (p->turn.stage >= model->stage_count) {
            const posert__people *found = model->body_count < model->stage_count ? &p->whole[p->now] : &p->found[p->last];
            *people = (posert_people){(int)found->count, posert__the_model.keypoint_count, found->keypoints,
                                      found->scores, found->boxes};
            p->turn.state = POSERT__IDLE;
            return POSERT_OK;
        }
        status = posert__enter(p);
    }
    if (status == POSERT_OK) status = feed_rows(p, feed);
    return done(p, status);
}

/* Whether the outputs are what the turn's stage waits for: so many, each with its rows and data. */
static posert_status check(posert *p, const posert__stage *stage, const posert_tensor *outputs, int count)
{
    if (p->turn.state != POSERT__FED) return posert__fail(p, POSERT_BAD_ARGUMENT, "posert_give comes after posert_next");
    if (outputs == NULL || count != stage->output_count)
        return posert__fail(p, POSERT_BAD_ARGUMENT, "%d outputs, %d are wanted", outputs ? count : 0, stage->output_count);
    for (int i = 0; i < count; i++) {
        int64_t elements = outputs[i].axes < 1 || outputs[i].axes > POSERT__AXES ? MOST_ELEMENTS + 1 : 1;
        for (int axis = 0; axis < outputs[i].axes && elements <= MOST_ELEMENTS; axis++) {
            const int64_t side = outputs[i].dims[axis];
            elements = side < 0 || (side > 0 && elements > MOST_ELEMENTS / side) ? MOST_ELEMENTS + 1 : elements * side;
        }
        if (elements > MOST_ELEMENTS || (elements > 0 && outputs[i].data == NULL))
            return posert__fail(p, POSERT_BAD_ARGUMENT, "the output %s is no float tensor of 1 to 5 axes", stage->outputs[i]);
        if (outputs[i].dims[0] != p->turn.rows)
            return posert__fail(p, POSERT_FAILED, "the network gave %ld rows for %ld windows", (long)outputs[i].dims[0],
                                (long)p->turn.rows);
    }
    return POSERT_OK;
}

posert_status posert_give(posert *p, const posert_tensor *outputs, int count)
{
    if (p == NULL || !p->opened) return POSERT_BAD_ARGUMENT;
    p->error[0] = 0;
    posert__turn *turn = &p->turn;
    posert__people *people = &p->found[p->last], *regions = &p->found[!p->last];
    posert_status status = check(p, &posert__the_model.stages[turn->state == POSERT__FED ? turn->stage : 0], outputs, count);
    const int parts_of = status == POSERT_OK && posert__the_model.stages[turn->stage].region == POSERT__PARTS;
    for (int64_t row = 0; row < turn->rows && parts_of && status == POSERT_OK; row++)
        status = posert__put_part(p, outputs, row);
    for (int64_t row = 0; row < turn->rows && !parts_of && status == POSERT_OK; row++) {
        const int64_t before = people->count, parts = posert__the_model.stages[turn->stage].keypoint_count;
        status = posert__decode(p, turn->stage, outputs, row, turn->input_wh, people);
        const int64_t region = turn->start + row;
        for (int64_t person = before; person < people->count && region < regions->count; person++) {
            memcpy(people->region_boxes + 4 * person, regions->boxes + 4 * region, 4 * sizeof(float));
            people->region_scores[person] = regions->scores[region];
        }
        if (status == POSERT_OK)
            posert_k_to_frame(POSERT__3(people->keypoints + 3 * parts * before, people->count - before, parts, 3),
                              POSERT__2(people->boxes + 4 * before, people->count - before, 4),
                              POSERT__1((double *)p->windows.at + POSERT__WINDOW * (turn->start + row), POSERT__WINDOW),
                              turn->input_wh[0], turn->input_wh[1]);
    }
    turn->start += turn->rows;
    turn->state = POSERT__BEGUN;
    return done(p, status);
}

void posert_reset(posert *p)
{
    if (p == NULL) return;
    posert__forget(p, 1);
    p->turn.state = POSERT__IDLE;
}

const char *posert_error(const posert *p) { return p != NULL ? p->error : "no memory for a handle"; }

int posert_keypoint_count(void) { return posert__the_model.keypoint_count; }

const char *posert_keypoint_name(int keypoint)
{
    return keypoint >= 0 && keypoint < posert__the_model.keypoint_count ? posert__the_model.names[keypoint] : NULL;
}

const char *posert_model_name(void) { return posert__the_model.name; }

const char *posert_version(void) { return posert__the_model.version; }
