/* Decoder `direct`: the network itself gives rows of (y, x, score); the twin of postprocess/direct.py. */
#include "internal.h"

#include <float.h>
#include <math.h>

static float finite(float value)
{
    if (isnan(value)) return 0;
    return isinf(value) ? (value > 0 ? FLT_MAX : -FLT_MAX) : value;
}

static void take_keypoints(const float *yxs, int64_t parts, const int input_wh[2], float *keypoints)
{
    for (int64_t k = 0; k < parts; k++, yxs += 3, keypoints += 3) {
        const float x = yxs[1] * (float)input_wh[0], y = yxs[0] * (float)input_wh[1];
        const int found = isfinite(x) && isfinite(y) && isfinite(yxs[2]) && yxs[2] > 0;
        keypoints[0] = found ? x : 0;
        keypoints[1] = found ? y : 0;
        keypoints[2] = found ? yxs[2] : 0;
    }
}

static float mean_score(const float *yxs, int64_t parts)
{
    float total = 0;
    for (int64_t k = 0; k < parts; k++) total += yxs[3 * k + 2];
    return total / (float)parts;
}

static posert_status decode(posert *p, const posert__stage *stage, posert__memory *memory,
                            const posert__tensor *outputs, const int input_wh[2], posert__people *people)
{
    const posert__direct_params *params = stage->params;
    const posert__tensor *single = posert__output(stage, outputs, "keypoints");
    const posert__tensor *several = posert__output(stage, outputs, "people");
    const posert__tensor *rows = single != NULL ? single : several;
    const int64_t parts = people->keypoint_count, each = single != NULL ? 3 * parts : 3 * parts + 5;
    (void)memory;
    if (rows == NULL || (single != NULL ? rows->n[2] != parts || rows->n[3] != 3 : rows->n[2] != each || rows->n[3]))
        return posert__fail(p, POSERT_FAILED, "the network's output does not fit %d keypoints", (int)parts);
    posert_status status = posert__grow(p, people, rows->n[1]);
    for (int64_t i = 0; status == POSERT_OK && i < rows->n[1]; i++) {
        const float *row = rows->at + i * each, *box = row + 3 * parts;
        const float score = single != NULL ? mean_score(row, parts) : row[each - 1];
        if (!(score >= (float)params->min_score)) continue;
        float *own = people->boxes + 4 * people->count, *keypoints = people->keypoints + 3 * parts * people->count;
        take_keypoints(row, parts, input_wh, keypoints);
        if (single != NULL) posert__box_keypoints(keypoints, parts, own);
        for (int side = 0; side < 4 && single == NULL; side++)
            own[side] = finite(box[side ^ 1]) * (float)input_wh[side % 2];
        people->scores[people->count++] = finite(score);
    }
    return status;
}

const posert__decoder posert__direct = {decode};
