/* Outputs of a network to people: the call of a decoder's two kernels, and of a rule's. The twin of
 * postprocess/decoding.py; what is checked, and how, the kernels know. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is new is zero: not every decoder writes keypoints. */
static int enlarge(float **array, int64_t used, int64_t room, int64_t each)
{
    if (room > (int64_t)(SIZE_MAX / 8) / (each + 1)) return 0;
    float *larger = realloc(*array, (size_t)(room * each + 1) * sizeof(float));
    if (larger == NULL) return 0;
    memset(larger + used * each, 0, (size_t)((room - used) * each) * sizeof(float));
    *array = larger;
    return 1;
}

posert_status posert__grow(posert *p, posert__people *people, int64_t more)
{
    const int64_t room = people->count + people->count / 2 + more + 8;
    if (people->keypoints != NULL && people->count + more <= people->room) return POSERT_OK;
    if (!enlarge(&people->keypoints, people->count, room, 3 * (int64_t)posert__the_model.most_keypoints) ||
        !enlarge(&people->scores, people->count, room, 1) || !enlarge(&people->boxes, people->count, room, 4) ||
        !enlarge(&people->region_boxes, people->count, room, 4) || !enlarge(&people->region_scores, people->count, room, 1))
        return posert__fail(p, POSERT_NO_MEMORY, "no memory for %ld people", (long)room);
    people->room = room;
    return POSERT_OK;
}

/* Says with which shapes the decoder has which problem, in Python's words. */
static posert_status refuse(posert *p, const posert__decoder *decoder, int64_t (*shapes)[POSERT__AXES], int64_t problem)
{
    char text[512];
    int at = 0;
    text[0] = 0;
    for (int role = 0; role < POSERT__ROLES && at < (int)sizeof text - 160; role++) {
        int axes = POSERT__AXES;
        while (axes > 0 && shapes[role][axes - 1] == 0) axes--;
        if (axes == 0) continue; /* the network has none */
        at += snprintf(text + at, sizeof text - (size_t)at, "%s%.40s [", at ? ", " : "", decoder->roles[role]);
        for (int axis = 0; axis < axes; axis++)
            at += snprintf(text + at, sizeof text - (size_t)at, "%s%ld", axis ? ", " : "", (long)shapes[role][axis]);
        at += snprintf(text + at, sizeof text - (size_t)at, "]");
    }
    return posert__fail(p, POSERT_FAILED, "the decoder %s cannot use %s: %s", decoder->name, text,
                        decoder->problems[-problem - 1]);
}

/* The stage's bench for these shapes: the kept one, or a new one, whose workspace is all zeros. */
static posert_status set_up(posert *p, const posert__decoder *decoder, posert__bench *bench,
                            int64_t (*shapes)[POSERT__AXES], const int64_t size[3])
{
    int64_t needs[2] = {0, 0};
    if (bench->workspace_bytes > 0 && memcmp(bench->shapes, shapes, sizeof bench->shapes) == 0 &&
        memcmp(bench->size, size, sizeof bench->size) == 0)
        return POSERT_OK;
    bench->workspace_bytes = 0;
    memcpy(bench->shapes, shapes, sizeof bench->shapes);
    memcpy(bench->size, size, sizeof bench->size);
    const int64_t found = decoder->workspace(
        POSERT__2(&bench->shapes[0][0], POSERT__ROLES, POSERT__AXES), POSERT__1(bench->size, 3),
        POSERT__1(decoder->numbers.at, decoder->numbers.count), POSERT__1(decoder->table, decoder->table_count),
        POSERT__1(needs, 2));
    if (found < 0) return refuse(p, decoder, bench->shapes, found);
    if (posert__at_least(&bench->workspace, needs[0] + 1) == NULL)
        return posert__fail(p, POSERT_NO_MEMORY, "no memory for outputs of this size");
    memset(bench->workspace.at, 0, (size_t)needs[0]);
    bench->workspace_bytes = needs[0] + 1;
    bench->most = needs[1];
    return POSERT_OK;
}

/* The row's arrays in the order of the decoder's roles; an absent one has no elements. */
static void take_row(const posert__stage *stage, const posert_tensor *outputs, int64_t row, float **arrays,
                     int64_t *counts, int64_t (*shapes)[POSERT__AXES])
{
    for (int i = 0; i < stage->output_count; i++) {
        const int role = stage->roles[i];
        int64_t count = 1;
        shapes[role][0] = 1;
        for (int axis = 1; axis < outputs[i].axes; axis++) count *= shapes[role][axis] = outputs[i].dims[axis];
        counts[role] = count;
        arrays[role] = (float *)outputs[i].data + row * count; /* the kernels only read it */
    }
}

posert_status posert__decode(posert *p, int index, const posert_tensor *outputs, int64_t row,
                             const int64_t input_wh[2], posert__people *people)
{
    static float nothing;
    const posert__stage *stage = &posert__the_model.stages[index];
    const posert__decoder *decoder = &stage->decoder;
    posert__bench *bench = &p->benches[index];
    const int64_t parts = stage->keypoint_count, size[3] = {input_wh[0], input_wh[1], parts};
    int64_t shapes[POSERT__ROLES][POSERT__AXES] = {{0}}, counts[POSERT__ROLES] = {0}, found = 0;
    float *arrays[POSERT__ROLES] = {&nothing, &nothing, &nothing, &nothing};
    take_row(stage, outputs, row, arrays, counts, shapes);
    posert_status status = set_up(p, decoder, bench, shapes, size);
    if (status == POSERT_OK) status = posert__grow(p, people, bench->most);
    if (status != POSERT_OK) return status;
    const int64_t count = decoder->people(
        POSERT__1(arrays[0], counts[0]), POSERT__1(arrays[1], counts[1]), POSERT__1(arrays[2], counts[2]),
        POSERT__1(arrays[3], counts[3]), POSERT__2(&bench->shapes[0][0], POSERT__ROLES, POSERT__AXES),
        POSERT__1(bench->size, 3), POSERT__1(decoder->numbers.at, decoder->numbers.count),
        POSERT__1(decoder->table, decoder->table_count), POSERT__1(bench->workspace.at, bench->workspace_bytes - 1),
        POSERT__1(&found, 1), POSERT__3(people->keypoints + 3 * parts * people->count, bench->most, parts, 3),
        POSERT__1(people->scores + people->count, bench->most), POSERT__2(people->boxes + 4 * people->count, bench->most, 4));
    if (count < 0) return refuse(p, decoder, bench->shapes, count);
    people->count += count;
    return POSERT_OK;
}

posert_status posert__suppress(posert *p, const posert__stage *stage, posert__people *people)
{
    const posert__rule *rule = stage->rule;
    posert__people *merged = &p->found[2], old = *people;
    const int64_t count = people->count, parts = stage->keypoint_count;
    if (count == 0 || parts == 0) return POSERT_OK;
    const int64_t bytes = rule->workspace(count, parts, POSERT__1(rule->numbers.at, rule->numbers.count));
    if (bytes < 0) return posert__fail(p, POSERT_FAILED, "%s", rule->problems[-bytes - 1]);
    merged->count = 0;
    posert_status status = posert__grow(p, merged, count);
    if (status != POSERT_OK) return status;
    if (posert__at_least(&p->ruling, bytes + 1) == NULL)
        return posert__fail(p, POSERT_NO_MEMORY, "no memory to compare people");
    memset(p->ruling.at, 0, (size_t)bytes);
    merged->count = rule->people(
        POSERT__3(people->keypoints, count, parts, 3), POSERT__2(people->region_boxes, count, 4),
        POSERT__1(people->region_scores, count), POSERT__1(rule->numbers.at, rule->numbers.count),
        POSERT__1(p->ruling.at, bytes), POSERT__3(merged->keypoints, count, parts, 3), POSERT__1(merged->scores, count),
        POSERT__2(merged->boxes, count, 4));
    if (merged->count < 0) return posert__fail(p, POSERT_FAILED, "%s", rule->problems[-merged->count - 1]);
    *people = *merged;
    *merged = old;
    return POSERT_OK;
}
