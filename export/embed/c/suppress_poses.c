/* Suppression rule `poses`: people found twice become one; the twin of postprocess/suppress_poses.py. */
#include "internal.h"
#include "kernels.h"

#include <string.h>

/* Copies the people that stay over those who were there. */
static void take(const posert__f32 *merged, const posert__f32 *scores, const posert__i64 *picks, int64_t kept,
                 const posert__people *regions, posert__people *people)
{
    const size_t each = (size_t)(3 * people->keypoint_count) * sizeof(float);
    people->count = kept;
    if (kept == 0) return;
    memcpy(people->keypoints, merged->at, (size_t)kept * each);
    memcpy(people->scores, scores->at, (size_t)kept * sizeof(float));
    for (int64_t i = 0; i < kept; i++)
        memcpy(people->boxes + 4 * i, regions->boxes + 4 * picks->at[i], 4 * sizeof(float));
}

static posert_status suppress(posert *p, const void *given, const posert__people *regions, posert__people *people)
{
    const posert__suppress_poses_params *params = given;
    const int64_t count = people->count, parts = people->keypoint_count;
    double rule[8] = {params->mu,        params->delta1,  params->delta2, params->gamma,
                      params->min_score, params->matches, params->alpha,  params->min_area};
    if (count != regions->count || (params->whole_body && parts < 111))
        return posert__fail(p, POSERT_FAILED, "%d poses from %d regions", (int)count, (int)regions->count);
    if (count == 0 || parts == 0) return POSERT_OK;
    posert__arena arena = {0};
    posert__f32 merged, scores;
    posert__f64 means;
    posert__u8 alive;
    posert__i64 picks;
    NEW3(&arena, merged, count, parts, 3);
    NEW1(&arena, scores, count);
    NEW1(&arena, means, count);
    NEW1(&arena, alive, count);
    NEW1(&arena, picks, count);
    const int failed = arena.failed;
    for (int64_t i = 0; i < count * parts; i++) /* AlphaPose's own way around a weight of 0 */
        if (people->keypoints[3 * i + 2] == 0) people->keypoints[3 * i + 2] = 1e-5f;
    if (!failed) {
        const int64_t kept = posert_k_pose_nms(people->keypoints, count, parts, 3, regions->boxes, count, 4,
                                               regions->scores, count, params->whole_body, rule, 8, V1(alive),
                                               V1(means), V3(merged), V1(scores), V1(picks));
        take(&merged, &scores, &picks, kept, regions, people);
    }
    posert__free(&arena);
    return failed ? posert__fail(p, POSERT_NO_MEMORY, "no memory to compare people") : POSERT_OK;
}

const posert__suppression posert__suppress_poses = {suppress};
