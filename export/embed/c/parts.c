/* Hands, faces and other parts of the people whom the body's stages found. The twin of runtime/parts.py; where parts are
 * looked for, and how they become keypoints, the kernels know. */
#include "internal.h"
#include "kernels.h"

#include <string.h>

posert_status posert__begin_parts(posert *p)
{
    const posert__model *model = &posert__the_model;
    const int64_t own = model->stages[model->body_count - 1].keypoint_count, all = model->keypoint_count;
    const posert__people *body = &p->found[p->last];
    posert__people *whole = &p->whole[p->now = !p->now];
    whole->count = 0;
    const posert_status status = posert__grow(p, whole, body->count);
    if (status != POSERT_OK) return status;
    whole->count = body->count;
    memset(whole->keypoints, 0, (size_t)(3 * all * body->count) * sizeof(float));
    for (int64_t person = 0; person < body->count; person++)
        memcpy(whole->keypoints + 3 * all * person, body->keypoints + 3 * own * person, (size_t)(3 * own) * sizeof(float));
    if (body->count == 0) return POSERT_OK;
    memcpy(whole->scores, body->scores, (size_t)body->count * sizeof(float));
    memcpy(whole->boxes, body->boxes, (size_t)(4 * body->count) * sizeof(float));
    return POSERT_OK;
}

posert_status posert__enter_parts(posert *p)
{
    posert__turn *turn = &p->turn;
    const posert__stage *stage = &posert__the_model.stages[turn->stage];
    const posert__parts *parts = stage->parts;
    const posert__people *people = &p->whole[p->now], *known = &p->whole[!p->now];
    const int64_t all = posert__the_model.keypoint_count, most = people->count * parts->count + 1;
    double *windows = posert__at_least(&p->windows, most * POSERT__WINDOW * (int64_t)sizeof(double));
    int64_t *owners = posert__at_least(&p->owners, 2 * most * (int64_t)sizeof(int64_t));
    uint8_t *taken = posert__at_least(&p->ruling, known->count + 1);
    if (windows == NULL || owners == NULL || taken == NULL)
        return posert__fail(p, POSERT_NO_MEMORY, "no memory for the windows");
    memcpy(turn->input_wh, stage->size_wh, sizeof turn->input_wh);
    turn->start = turn->count = 0;
    for (int part = 0; part < parts->count; part++)
        turn->count += parts->place(
            POSERT__1(parts->each[part].at, parts->each[part].count), POSERT__1(stage->place.at, stage->place.count),
            POSERT__1(parts->again.at, parts->again.count), POSERT__3(people->keypoints, people->count, all, 3),
            POSERT__3(known->keypoints, known->count, all, 3), POSERT__1(taken, known->count),
            POSERT__2(windows + POSERT__WINDOW * turn->count, people->count, POSERT__WINDOW),
            POSERT__2(owners + 2 * turn->count, people->count, 2));
    return POSERT_OK;
}

posert_status posert__put_part(posert *p, const posert_tensor *outputs, int64_t row)
{
    const posert__turn *turn = &p->turn;
    const posert__stage *stage = &posert__the_model.stages[turn->stage];
    const int64_t parts = stage->keypoint_count, all = posert__the_model.keypoint_count;
    const int64_t *owner = (int64_t *)p->owners.at + 2 * (turn->start + row);
    posert__people *found = &p->found[!p->last];
    found->count = 0;
    const posert_status status = posert__decode(p, turn->stage, outputs, row, turn->input_wh, found);
    if (status != POSERT_OK) return status;
    posert_k_to_frame(POSERT__3(found->keypoints, found->count, parts, 3), POSERT__2(found->boxes, found->count, 4),
                      POSERT__1((double *)p->windows.at + POSERT__WINDOW * (turn->start + row), POSERT__WINDOW),
                      turn->input_wh[0], turn->input_wh[1]);
    stage->parts->put(POSERT__3(found->keypoints, found->count, parts, 3), POSERT__1(found->scores, found->count),
                      POSERT__2(p->whole[p->now].keypoints + 3 * all * owner[0], all, 3), owner[1]);
    return POSERT_OK;
}

void posert__leave_parts(posert *p)
{
    const posert__stage *stage = &posert__the_model.stages[p->turn.stage];
    posert__people *people = &p->whole[p->now];
    float box[4];
    if (stage->parts->apart > 0 && stage->parts->count > 1)
        stage->parts->drop_doubles(POSERT__3(people->keypoints, people->count, posert__the_model.keypoint_count, 3),
                                   POSERT__1(stage->parts->firsts, stage->parts->count), stage->keypoint_count,
                                   stage->parts->apart, POSERT__1(box, 4));
}
