/* Decoder `heatmap`: one map per keypoint of one person; the twin of postprocess/heatmap.py. */
#include "internal.h"
#include "kernels.h"

static posert_status decode(posert *p, const posert__stage *stage, posert__memory *memory,
                            const posert__tensor *outputs, const int input_wh[2], posert__people *people)
{
    const posert__heatmap_params *params = stage->params;
    const posert__tensor *maps = posert__output(stage, outputs, "maps");
    const int64_t parts = people->keypoint_count;
    const int64_t centres = params->integral < 0 || params->integral > parts ? parts : params->integral;
    (void)memory;
    if (maps == NULL || maps->n[1] != parts || maps->n[2] < 1 || maps->n[3] < 1 || maps->n[4])
        return posert__fail(p, POSERT_FAILED, "the network's maps do not fit %d keypoints", (int)parts);
    const int64_t width = maps->n[3];
    const posert__f32 flat = {maps->at, {parts, maps->n[2] * width}};
    posert_status status = posert__grow(p, people, 1);
    if (status != POSERT_OK) return status;
    const posert__f32 points = {people->keypoints + 3 * parts * people->count, {parts, 3}};
    posert_k_heatmap_peaks(V2(flat), parts, 0, parts - centres, width, V2(points));
    posert_k_heatmap_means(V2(flat), parts, parts - centres, parts, width, V2(points));
    const float scale_x = (float)((double)input_wh[0] / (double)width);
    const float scale_y = (float)((double)input_wh[1] / (double)maps->n[2]);
    float total = 0;
    for (int64_t k = 0; k < parts; k++) {
        points.at[3 * k] *= scale_x;
        points.at[3 * k + 1] *= scale_y;
        total += points.at[3 * k + 2];
    }
    people->scores[people->count] = total / (float)parts;
    posert__box_keypoints(points.at, parts, people->boxes + 4 * people->count);
    people->count++;
    return POSERT_OK;
}

const posert__decoder posert__heatmap = {decode};
