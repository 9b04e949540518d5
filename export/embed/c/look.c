/* Where the model looks in the next picture: the whole of it, boxes, or after the last picture's people. The twin of
 * runtime/look.py; how windows and regions lie, the kernels know. */
#include "internal.h"
#include "kernels.h"

#include <math.h>
#include <string.h>

/* How many of the people have a region that can be turned; they come first. */
static int64_t turned(const posert__stage *stage, posert__people *people, int64_t count, int64_t parts)
{
    return posert_k_turned_regions(POSERT__1(stage->turn.at, stage->turn.count),
                                   POSERT__3(people->keypoints, count, parts, 3), POSERT__2(people->boxes, count, 4),
                                   POSERT__1(people->scores, count));
}

/* A window for each of these people, or for so many of them. */
static void place_turned(const posert__stage *stage, const posert__people *people, int64_t count, int64_t parts,
                         double *windows)
{
    posert_k_place_turned(POSERT__1(stage->place.at, stage->place.count), POSERT__1(stage->turn.at, stage->turn.count),
                          POSERT__3(people->keypoints, count, parts, 3), POSERT__2(people->boxes, count, 4),
                          POSERT__2(windows, count, POSERT__WINDOW));
}

/* Keypoints of the people whom the body's stages find. */
static int64_t body_parts(void) { return posert__the_model.stages[posert__the_model.body_count - 1].keypoint_count; }

/* Whether the model follows everybody whom its detector finds, and this picture's regions are not the caller's. */
static int follows_all(const posert *p)
{
    const posert__model *model = &posert__the_model;
    return !p->turn.given && model->body_count > 1 && model->stages[model->body_count - 1].region == POSERT__FOLLOW;
}

void posert__set_follow(posert *p, posert_follow asked)
{
    const posert__stage *last = &posert__the_model.stages[posert__the_model.body_count - 1];
    p->steady = asked.rule == POSERT_FOLLOW_STEADY && last->region == POSERT__FOLLOW && last->turn.count == 0;
    p->follow[POSERT__RULE] = asked.rule;
    p->follow[POSERT__SHARE] = asked.share;
    p->follow[POSERT__SLACK] = asked.slack;
    p->follow[POSERT__PATIENCE] = asked.patience;
    p->follow[POSERT__CUT] = asked.cut;
}

void posert__forget(posert *p, int scene)
{
    p->follows = p->since_detection = 0;
    p->remembers = 0;
    p->whole[0].count = p->whole[1].count = 0;
    if (scene && p->scene.at != NULL) memset(p->scene.at, 0, p->scene.bytes);
}

/* A cut forgets the last picture's people. */
static posert_status look_for_cut(posert *p)
{
    const posert__model *model = &posert__the_model;
    const posert__pixels *pixels = &p->turn.pixels;
    const int first = p->scene.at == NULL;
    float *scene = posert__at_least(&p->scene, model->scene_size * (int64_t)sizeof(float));
    if (scene == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory to compare pictures");
    if (first) posert__forget(p, 1);
    if (posert_k_scene_changed(POSERT__2(pixels->at, pixels->height, 3 * pixels->width), p->follow[POSERT__CUT],
                               POSERT__1(scene, model->scene_size)) > 0)
        posert__forget(p, 0);
    return POSERT_OK;
}

/* The picture's people are complete: sides that were exchanged are as before, and the memory is this picture's. */
static posert_status remember(posert *p, posert__people *people)
{
    const posert__model *model = &posert__the_model;
    const int64_t size = model->memory_size, known = p->remembers;
    double *before = posert__at_least(&p->memory[p->newest], known * size * (int64_t)sizeof(double));
    double *after = posert__at_least(&p->memory[!p->newest], people->count * size * (int64_t)sizeof(double));
    if (before == NULL || after == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the people");
    posert_k_steadied(POSERT__1(p->follow, POSERT__FOLLOWS),
                      POSERT__3(people->keypoints, people->count, body_parts(), 3), POSERT__1(model->torso, 4),
                      POSERT__2(model->sides, model->side_count, 2), p->turn.pixels.width, p->turn.pixels.height,
                      POSERT__2(before, known, size), POSERT__2(after, people->count, size));
    p->newest = !p->newest;
    p->remembers = people->count;
    return POSERT_OK;
}

posert_status posert__enter(posert *p)
{
    posert__turn *turn = &p->turn;
    const posert__stage *stage = &posert__the_model.stages[turn->stage];
    const posert__people *regions = &p->found[p->last];
    if (stage->region == POSERT__PARTS) return posert__enter_parts(p);
    p->last = !p->last;
    p->found[p->last].count = 0;
    turn->start = 0;
    const int boxes =
        stage->region == POSERT__BOXES || (stage->region == POSERT__FOLLOW && (p->turn.given || follows_all(p)));
    turn->count = boxes ? regions->count : 1;
    int64_t found;
    double *windows = posert__at_least(&p->windows, (turn->count + 1) * POSERT__WINDOW * (int64_t)sizeof(double));
    if (windows == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the windows");
    if (boxes) {
        memcpy(turn->input_wh, stage->size_wh, sizeof turn->input_wh);
        if (stage->turn.count > 0) {
            place_turned(stage, regions, turn->count, stage[-1].keypoint_count, windows);
            return POSERT_OK;
        }
        found = posert_k_place_boxes(POSERT__1(stage->place.at, stage->place.count),
                                     POSERT__2(regions->boxes, turn->count, 4),
                                     POSERT__2(windows, turn->count, POSERT__WINDOW));
    } else {
        found = posert_k_place_frame(POSERT__1(stage->place.at, stage->place.count), turn->pixels.width,
                                     turn->pixels.height, POSERT__1(windows, 4), POSERT__1(turn->input_wh, 2));
        windows[4] = 1, windows[5] = 0;
        turn->count = found > 0 || (stage->region == POSERT__FOLLOW && p->follows > 0);
    }
    if (stage->region == POSERT__FOLLOW)
        for (int64_t person = 0; person < p->follows; person++) {
            const double *window = (double *)p->following.at + POSERT__WINDOW * person;
            if (window[0] == window[0])
                memcpy(windows + POSERT__WINDOW * person, window, POSERT__WINDOW * sizeof(double));
        }
    return found >= 0 ? POSERT_OK : posert__fail(p, POSERT_FAILED, "the picture does not fit the network's input");
}

/* Room for the windows of so many people who are followed. */
static double *windows_of(posert *p, int64_t people)
{
    return posert__at_least(&p->following, (people + 1) * POSERT__WINDOW * (int64_t)sizeof(double));
}

/* Whether the first of the people is seen well enough to be followed; `window` gets where. */
static int follow(const posert *p, const posert__stage *stage, posert__people *people, double *window)
{
    const posert__model *model = &posert__the_model;
    window[4] = 1, window[5] = 0;
    if (p->steady) {
        memcpy(window, p->memory[p->newest].at, 4 * sizeof(double));
        return window[0] == window[0];
    }
    if (stage->turn.count > 0) {
        if (turned(stage, people, 1, stage->keypoint_count) < 1) return 0;
        place_turned(stage, people, 1, stage->keypoint_count, window);
        return 1;
    }
    return model->torso[0] >= 0 &&
           posert_k_crop_window(POSERT__2(people->keypoints, stage->keypoint_count, 3), POSERT__1(model->torso, 4),
                                p->turn.pixels.width, p->turn.pixels.height, POSERT__1(window, 4)) > 0;
}

/* The regions of who is followed come before those found, without the boxes that are theirs, which say where to look if
 * the detector sees every picture. */
static posert_status join(posert *p)
{
    const posert__people *known = &p->found[!p->last];
    posert__people *people = &p->found[p->last];
    uint8_t *taken = posert__at_least(&p->ruling, known->count + 1);
    if (taken == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory to compare people");
    people->count = posert_k_newcomers(
        POSERT__2(known->boxes, known->count, 4), POSERT__1(known->scores, known->count),
        POSERT__2(people->boxes, people->count, 4), POSERT__1(people->scores, people->count),
        posert__the_model.stages[p->turn.stage + 1].max_iou, POSERT__1(taken, known->count));
    for (int64_t person = 0; person < known->count && p->detect_every <= 1 && !p->steady; person++)
        if (taken[person]) ((double *)p->following.at)[POSERT__WINDOW * person] = NAN;
    const posert_status status = posert__grow(p, people, known->count);
    if (status != POSERT_OK || known->count == 0) return status;
    memmove(people->boxes + 4 * known->count, people->boxes, (size_t)(4 * people->count) * sizeof(float));
    memmove(people->scores + known->count, people->scores, (size_t)people->count * sizeof(float));
    memcpy(people->boxes, known->boxes, (size_t)(4 * known->count) * sizeof(float));
    memcpy(people->scores, known->scores, (size_t)known->count * sizeof(float));
    people->count += known->count;
    return POSERT_OK;
}

posert_status posert__leave(posert *p)
{
    const posert__model *model = &posert__the_model;
    const posert__stage *stage = &model->stages[p->turn.stage];
    const double width = p->turn.pixels.width, height = p->turn.pixels.height;
    posert__people *people = &p->found[p->last];
    if (stage->region == POSERT__PARTS) {
        posert__leave_parts(p);
        return POSERT_OK;
    }
    if (stage->rule != NULL) {
        const posert_status status = posert__suppress(p, stage, people);
        if (status != POSERT_OK) return status;
    }
    if (p->turn.stage < model->body_count - 1 && stage[1].turn.count > 0)
        people->count = turned(&stage[1], people, people->count, stage->keypoint_count);
    else if (p->turn.stage < model->body_count - 1) {
        people->count = posert_k_usable_regions(POSERT__2(people->boxes, people->count, 4),
                                                POSERT__1(people->scores, people->count), width, height);
        return follows_all(p) ? join(p) : POSERT_OK;
    } else if (p->steady) {
        const posert_status status = remember(p, people);
        if (status != POSERT_OK) return status;
    }
    if (stage->region == POSERT__FOLLOW && !follows_all(p)) {
        double *window = windows_of(p, 1);
        if (window == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the windows");
        p->follows = people->count > 0 && follow(p, stage, people, window);
    }
    return POSERT_OK;
}

/* The regions of those of the last picture's people who are followed replace them; `following` gets their windows. */
static posert_status follow_all(posert *p)
{
    posert__people *people = &p->found[p->last];
    const int64_t parts = body_parts();
    if (p->since_detection == 0) people->count = 0;
    double *windows = windows_of(p, people->count);
    if (windows == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the windows");
    p->follows = people->count = posert_k_followed(
        POSERT__3(people->keypoints, people->count, parts, 3), POSERT__1(people->scores, people->count),
        POSERT__1(posert__the_model.torso, 4), p->turn.pixels.width, p->turn.pixels.height,
        POSERT__2((double *)p->memory[p->newest].at, p->steady ? people->count : 0, posert__the_model.memory_size),
        POSERT__2(people->boxes, people->count, 4), POSERT__2(windows, people->count, POSERT__WINDOW));
    return POSERT_OK;
}

posert_status posert__take_boxes(posert *p, const float *boxes, int64_t count)
{
    posert__people *people = &p->found[p->last];
    posert__forget(p, 1);
    people->count = 0;
    posert_status status = p->steady ? look_for_cut(p) : POSERT_OK;
    if (status == POSERT_OK) status = posert__grow(p, people, count);
    if (status != POSERT_OK) return status;
    for (int64_t i = 0; i < count; i++) {
        memcpy(people->boxes + 4 * i, boxes + 5 * i, 4 * sizeof(float));
        people->scores[i] = boxes[5 * i + 4];
    }
    people->count = posert_k_usable_regions(POSERT__2(people->boxes, count, 4), POSERT__1(people->scores, count),
                                            INFINITY, INFINITY);
    p->since_detection = 1;
    return POSERT_OK;
}

posert_status posert__know_regions(posert *p, int *known)
{
    posert__people *people = &p->found[p->last];
    const int64_t parts = body_parts();
    posert_status status = p->steady ? look_for_cut(p) : POSERT_OK;
    if (status == POSERT_OK && follows_all(p)) status = follow_all(p);
    const int due = p->since_detection == 0 || p->since_detection >= p->detect_every;
    p->since_detection = due ? 1 : p->since_detection + 1;
    *known = !due;
    if (!due && !follows_all(p))
        people->count = posert_k_next_regions(POSERT__3(people->keypoints, people->count, parts, 3),
                                              POSERT__2(people->boxes, people->count, 4),
                                              POSERT__1(people->scores, people->count), p->turn.pixels.width,
                                              p->turn.pixels.height);
    return status;
}
