/* Decoder `cifcaf`: composite-field intensities and associations to people; the twin of postprocess/cifcaf.py. */
#include "constants.h"
#include "internal.h"
#include "kernels.h"

#include <math.h>
#include <stdlib.h>

/* Everything the kernels write to, for one size of the fields. */
typedef struct cifcaf_work {
    int64_t high, wide;
    double bucket_px;
    int64_t grid_w, grid_h;
    posert__f32 hr, cells, seeds, value, rows, scores, connections, keys, rank;
    posert__i32 cell_spots, order, other, row_spots, buckets, starts, places, heap, ranked;
    posert__i64 sort_counts, ends, ways, first_way, firsts, visits, turns;
    posert__u8 claimed, state, occupied;
    posert__f64 joints, poses, score;
} cifcaf_work;

/* Both directions of every edge, and those that leave each keypoint. */
static void plan_ways(cifcaf_work *work, int64_t parts)
{
    const posert__model *model = &posert__the_model;
    int64_t at = 0;
    for (int64_t i = 0; i < model->edge_count; i++)
        for (int way = 0; way < 2; way++) {
            work->ends.at[4 * i + 2 * way] = model->edges[i][way];
            work->ends.at[4 * i + 2 * way + 1] = model->edges[i][1 - way];
        }
    for (int64_t part = 0; part < parts; part++) {
        work->first_way.at[part] = at;
        for (int64_t way = 0; way < work->ends.n[0]; way++)
            if (work->ends.at[2 * way] == part) work->ways.at[at++] = way;
    }
    work->first_way.at[parts] = at;
}

static void allocate(posert__arena *arena, int64_t h, int64_t w, int64_t stride, int64_t parts, cifcaf_work *work)
{
    const int64_t high = (h - 1) * stride + 1, wide = (w - 1) * stride + 1, cells = h * w;
    const int64_t edges = (int64_t)posert__the_model.edge_count, ways = 2 * edges;
    const int64_t tiles = ((high + POSERT__TILE - 1) / POSERT__TILE) * ((wide + POSERT__TILE - 1) / POSERT__TILE);
    work->high = high;
    work->wide = wide;
    work->bucket_px = 4.0 * (double)stride;
    work->grid_w = w / 4 + 1;
    work->grid_h = h / 4 + 1;
    NEW2(arena, work->hr, parts, tiles * POSERT__TILE * POSERT__TILE);
    NEW2(arena, work->claimed, parts, tiles);
    NEW2(arena, work->cells, parts * cells, 5);
    NEW1(arena, work->cell_spots, parts * cells);
    NEW2(arena, work->seeds, parts * cells, 5);
    NEW1(arena, work->value, parts * cells);
    NEW1(arena, work->order, parts * cells);
    NEW1(arena, work->other, parts * cells);
    NEW1(arena, work->sort_counts, POSERT__RADIX);
    NEW2(arena, work->ends, ways, 2);
    NEW1(arena, work->ways, ways);
    NEW1(arena, work->first_way, parts + 1);
    NEW2(arena, work->rows, edges * cells, 7);
    NEW2(arena, work->row_spots, edges * cells, 2);
    NEW1(arena, work->firsts, edges + 1);
    NEW1(arena, work->scores, cells);
    NEW1(arena, work->buckets, cells);
    NEW2(arena, work->starts, ways, work->grid_w * work->grid_h + 1);
    NEW1(arena, work->places, ways * cells);
    NEW2(arena, work->connections, ways * cells, 7);
    NEW1(arena, work->visits, 1);
    NEW1(arena, work->heap, ways);
    NEW1(arena, work->keys, ways);
    NEW1(arena, work->turns, ways);
    NEW1(arena, work->state, ways);
    NEW2(arena, work->joints, ways, 4);
    NEW3(arena, work->occupied, parts, high / 2 + 1, wide / 2 + 1); /* all zeros, and the kernels leave it so */
    NEW3(arena, work->poses, POSERT__MAX_POSES, parts, 4);
    NEW1(arena, work->rank, POSERT__MAX_POSES);
    NEW1(arena, work->ranked, POSERT__MAX_POSES);
    NEW1(arena, work->score, parts);
}

static cifcaf_work *work_for(posert__memory *memory, int64_t h, int64_t w, int64_t stride)
{
    const int64_t key[8] = {h, w, stride};
    int fresh;
    cifcaf_work *work = posert__work(memory, key, sizeof *work, &fresh);
    if (work != NULL && fresh) {
        allocate(&memory->arena, h, w, stride, posert__the_model.keypoint_count, work);
        if (!memory->arena.failed) plan_ways(work, posert__the_model.keypoint_count);
    }
    return memory->arena.failed ? NULL : work;
}

/* The maps where they are read; the number of CIF cells. */
static int64_t fill_maps(const posert__cifcaf_params *params, posert__f32 cif, posert__f32 caf, int64_t stride,
                         cifcaf_work *work)
{
    const double lowest = fmin(params->cif_threshold, params->seed_threshold);
    const double weakest = params->force_complete_pose
                               ? fmin(params->caf_threshold, params->force_complete_caf_threshold)
                               : params->caf_threshold;
    const int64_t count = posert_k_list_intensities(
        cif.at, cif.n[0], cif.n[1], cif.n[2] * cif.n[3], (double)stride, work->high, work->wide, lowest,
        params->seed_threshold, V2(work->cells), V1(work->cell_spots), V2(work->hr), V2(work->claimed));
    posert_k_list_associations(caf.at, caf.n[0], caf.n[1], caf.n[2] * caf.n[3], V2(work->ends), (double)stride,
                               work->high, work->wide, weakest, V2(work->rows), V2(work->row_spots), V1(work->firsts),
                               V2(work->hr), V2(work->claimed));
    posert_k_accumulate(V2(work->cells), count, params->cif_threshold, params->cif_neighbors, work->high, work->wide,
                        V2(work->hr), V2(work->claimed));
    return count;
}

static void score_connections(double threshold, cifcaf_work *work)
{
    posert_k_score_connections(V2(work->rows), V2(work->row_spots), V1(work->firsts), V2(work->ends), V2(work->hr),
                               threshold, work->bucket_px, work->grid_w, work->grid_h, V1(work->scores),
                               V1(work->buckets), V2(work->starts), V1(work->places), V2(work->connections));
}

/* The number of poses that stay; the first of them in `ranked` is the best. */
static int64_t grow(const posert__cifcaf_params *params, posert__f32 cif, posert__f32 caf, int64_t stride,
                    cifcaf_work *work)
{
    const int forced = params->force_complete_pose;
    const double lower = params->seed_threshold < params->keypoint_threshold ? params->seed_threshold
                                                                              : params->keypoint_threshold;
    const double least = forced ? 0.0 : lower, relative = forced ? 0.0 : params->keypoint_threshold_rel;
    const int64_t cells = fill_maps(params, cif, caf, stride, work);
    const int64_t seeds = posert_k_find_seeds(V2(work->cells), V1(work->cell_spots), cells, params->seed_threshold,
                                              V2(work->hr), V2(work->seeds), V1(work->value),
                                              (int32_t *)(void *)work->value.at, work->value.n[0], V1(work->order),
                                              V1(work->other), V1(work->sort_counts));
    score_connections(params->caf_threshold, work);
    work->visits.at[0] = 0;
    const int64_t count = posert_k_grow_poses(
        V2(work->seeds), V1(work->order), seeds, V2(work->ends), V1(work->first_way), V1(work->ways),
        V2(work->connections), V1(work->places), V2(work->starts), work->bucket_px, work->grid_w, work->grid_h, least,
        relative, params->reverse_match, params->greedy, V1(work->visits), V1(work->heap), V1(work->keys),
        V1(work->turns), V1(work->state), V2(work->joints), V3(work->occupied), V3(work->poses));
    if (forced) {
        score_connections(params->force_complete_caf_threshold, work);
        posert_k_complete_poses(V3(work->poses), count, V2(work->ends), V1(work->first_way), V1(work->ways),
                                V2(work->connections), V1(work->places), V2(work->starts), work->bucket_px,
                                work->grid_w, work->grid_h, least, relative, params->greedy, V1(work->visits),
                                V1(work->heap), V1(work->keys), V1(work->turns), V1(work->state), V2(work->joints));
    }
    return posert_k_suppress(V3(work->poses), count, forced ? 0.0 : params->nms_keypoint_threshold,
                             params->instance_threshold,
                             V3(work->occupied), V1(work->rank), V1(work->ranked));
}

/* Pixels per cell; 0 = the fields do not fit the input. */
static int64_t pixels_per_cell(int64_t h, int64_t w, const int input_wh[2])
{
    int64_t stride = w > 1 ? (int64_t)rint((input_wh[0] - 1) / (double)(w - 1)) : 0;
    if (stride == 0) stride = h > 1 ? (int64_t)rint((input_wh[1] - 1) / (double)(h - 1)) : 1;
    if (stride < 1 || stride > 64 || llabs(input_wh[0] - 1 - stride * (w - 1)) >= stride ||
        llabs(input_wh[1] - 1 - stride * (h - 1)) >= stride)
        return 0;
    return stride;
}

static posert_status decode(posert *p, const posert__stage *stage, posert__memory *memory,
                            const posert__tensor *outputs, const int input_wh[2], posert__people *people)
{
    const posert__tensor *cif = posert__output(stage, outputs, "cif"), *caf = posert__output(stage, outputs, "caf");
    const int64_t parts = people->keypoint_count, edges = posert__the_model.edge_count;
    if (cif == NULL || caf == NULL || cif->n[1] != parts || cif->n[2] != 5 || caf->n[1] != edges || caf->n[2] != 8 ||
        cif->n[3] != caf->n[3] || cif->n[4] != caf->n[4] || cif->n[3] < 1 || cif->n[4] < 1)
        return posert__fail(p, POSERT_FAILED, "the network's cif and caf do not fit the decoder cifcaf");
    const int64_t h = cif->n[3], w = cif->n[4], stride = pixels_per_cell(h, w, input_wh);
    if (stride == 0)
        return posert__fail(p, POSERT_FAILED, "fields of %dx%d cells for an input of %dx%d px", (int)w, (int)h,
                            input_wh[0], input_wh[1]);
    const posert__f32 intensity = {cif->at, {parts, 5, h, w}}, association = {caf->at, {edges, 8, h, w}};
    cifcaf_work *work = work_for(memory, h, w, stride);
    if (work == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for fields of this size");
    const int64_t count = grow(stage->params, intensity, association, stride, work);
    const posert_status status = posert__grow(p, people, count);
    if (status != POSERT_OK) return status;
    posert_k_report_people(V3(work->poses), V1(work->ranked), count, V1(work->score),
                           people->keypoints + 3 * parts * people->count, count, parts, 3,
                           people->scores + people->count, count, people->boxes + 4 * people->count, count, 4);
    people->count += count;
    return POSERT_OK;
}

const posert__decoder posert__cifcaf = {decode};
