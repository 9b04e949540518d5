/* Decoder `bodyparts`: CMU OpenPose's way from heatmaps and part-affinity fields to people; the twin of
 * postprocess/bodyparts.py. */
#include "constants.h"
#include "internal.h"
#include "kernels.h"

#include <math.h>

/* One axis: taps, and which cells belong to which block of samples. */
typedef struct axis {
    posert__taps taps;
    posert__i64 cells, blocks;
} axis;

typedef struct bodyparts_work {
    axis y, x;
    double floor;
    posert__u8 active, used, redundant;
    posert__f32 block, grids, across, peaks;
    posert__i64 counts, starts;
    posert__i32 owners;
} bodyparts_work;

/* The candidates of one picture, as many as its peaks allow, and the people made of them. */
typedef struct listed {
    posert__f32 key, value;
    posert__i32 index, order, people;
    posert__f64 scores;
    posert__i64 sizes;
} listed;

/* Which cells each block reads, and which blocks read each cell. */
static void plan_blocks(int64_t length, int64_t size, axis *own)
{
    const int64_t taps = own->taps.weight.n[1];
    for (int64_t b = 0; b < own->cells.n[0]; b++) {
        int64_t low = length, high = 0;
        for (int64_t s = b * POSERT__BLOCK; s < size && s < (b + 1) * POSERT__BLOCK; s++) {
            const int64_t first = own->taps.first.at[s];
            if (first < low) low = first;
            if (first + taps > high) high = first + taps;
        }
        own->cells.at[2 * b] = low;
        own->cells.at[2 * b + 1] = high;
    }
    for (int64_t cell = 0; cell < length; cell++) {
        int64_t first = -1, last = -1;
        for (int64_t b = 0; b < own->cells.n[0]; b++)
            if (own->cells.at[2 * b] <= cell && cell < own->cells.at[2 * b + 1]) {
                if (first < 0) first = b;
                last = b;
            }
        own->blocks.at[2 * cell] = first < 0 ? 0 : first;
        own->blocks.at[2 * cell + 1] = last + 1;
    }
}

static void plan_axis(posert__arena *arena, int rule, int64_t length, int64_t size, axis *own)
{
    posert__arena matrix = {0};
    posert__band(arena, posert__upsampling(&matrix, rule, length, size, 1), length, size, &own->taps);
    NEW2(arena, own->cells, (size + POSERT__BLOCK - 1) / POSERT__BLOCK, 2);
    NEW2(arena, own->blocks, length, 2);
    arena->failed |= matrix.failed;
    posert__free(&matrix);
    if (!arena->failed) plan_blocks(length, size, own);
}

static void allocate(posert__arena *arena, const posert__bodyparts_params *params, int64_t h, const int input_wh[2],
                     bodyparts_work *work)
{
    const int64_t parts = posert__the_model.keypoint_count, edges = posert__the_model.edge_count;
    const int64_t wide = input_wh[0], high = input_wh[1];
    int64_t deepest = 1;
    for (int64_t b = 0; b < work->y.cells.n[0]; b++) {
        const int64_t depth = work->y.cells.at[2 * b + 1] - work->y.cells.at[2 * b];
        if (depth > deepest) deepest = depth;
    }
    NEW2(arena, work->active, work->y.cells.n[0], work->x.cells.n[0]);
    NEW2(arena, work->block, deepest, POSERT__BLOCK);
    NEW3(arena, work->grids, 2, high, wide);
    NEW2(arena, work->across, h, wide);
    NEW3(arena, work->peaks, parts, params->max_peaks, 3);
    NEW1(arena, work->counts, parts);
    NEW1(arena, work->starts, edges + 1);
    NEW2(arena, work->used, 2, params->max_peaks);
    NEW2(arena, work->owners, parts, params->max_peaks);
    NEW1(arena, work->redundant, edges);
    for (int i = 0; !arena->failed && i < params->redundant_edges_count; i++)
        if (params->redundant_edges[i] >= 0 && params->redundant_edges[i] < edges)
            work->redundant.at[params->redundant_edges[i]] = 1;
}

static bodyparts_work *work_for(posert__memory *memory, const posert__bodyparts_params *params, int64_t h, int64_t w,
                                const int input_wh[2])
{
    const int64_t key[8] = {h, w, input_wh[0], input_wh[1]};
    posert__arena *arena = &memory->arena;
    int fresh;
    bodyparts_work *work = posert__work(memory, key, sizeof *work, &fresh);
    if (work != NULL && fresh) {
        plan_axis(arena, params->interpolation, h, input_wh[1], &work->y);
        plan_axis(arena, params->interpolation, w, input_wh[0], &work->x);
        if (!arena->failed) allocate(arena, params, h, input_wh, work);
        if (!arena->failed)
            work->floor = params->peak_threshold / (posert__gain(&work->y.taps) * posert__gain(&work->x.taps)) *
                          (1 - 1e-5);
    }
    return arena->failed ? NULL : work;
}

static void find_peaks(const posert__bodyparts_params *params, posert__f32 heat, bodyparts_work *work)
{
    posert_k_find_centroids(V3(heat), posert__the_model.keypoint_count, params->peak_threshold, work->floor,
                            params->peak_rule == POSERT__RING, params->offset_px, V1(work->y.taps.first),
                            V2(work->y.taps.weight), V2(work->y.cells), V2(work->y.blocks), V1(work->x.taps.first),
                            V2(work->x.taps.weight), V2(work->x.blocks), V2(work->active), V2(work->block),
                            work->grids.at, work->grids.n[1], work->grids.n[2], V3(work->peaks), V1(work->counts));
}

/* No more people than limbs or peaks can start: each edge at most one per peak of either end. */
static void list(posert__arena *arena, const bodyparts_work *work, listed *found)
{
    const posert__model *model = &posert__the_model;
    int64_t size = 0, most = 0;
    for (int i = 0; i < model->edge_count; i++) {
        const int64_t a = work->counts.at[model->edges[i][0]], b = work->counts.at[model->edges[i][1]];
        size += a * b;
        most += a > b ? a : b;
    }
    NEW1(arena, found->key, size);
    NEW1(arena, found->value, size);
    NEW2(arena, found->index, size, 3);
    NEW1(arena, found->order, size);
    NEW2(arena, found->people, most, model->keypoint_count);
    NEW1(arena, found->scores, most);
    NEW1(arena, found->sizes, most);
}

/* The number of people, before the small ones are left out. */
static int64_t assemble(const posert__bodyparts_params *params, posert__f32 field, const int input_wh[2],
                        bodyparts_work *work, listed *found)
{
    const posert__model *model = &posert__the_model;
    const posert__i64 edges = {(int64_t *)model->edges, {model->edge_count, 2}};
    const posert__i64 channels = {(int64_t *)params->paf_channels, {model->edge_count, 2}};
    const int together = params->assembly == POSERT__GLOBAL_SORT;
    const double near = sqrt((double)((int64_t)input_wh[0] * input_wh[1])) / POSERT__NEAR;
    const int64_t count = posert_k_score_candidates(
        V3(field), V2(edges), V2(channels), V3(work->peaks), V1(work->counts), together ? POSERT__KEY_BONUS : 0.0,
        params->limb_threshold, params->limb_ratio, near, params->peak_threshold + 1e-6, V1(work->y.taps.first),
        V2(work->y.taps.weight), V1(work->x.taps.first), V2(work->x.taps.weight), V2(work->across), V3(work->grids),
        V1(found->key), V1(found->value), V2(found->index), V1(work->starts));
    if (together)
        return posert_k_assemble_globally(V2(edges), V3(work->peaks), V1(found->key), V1(found->value),
                                          V2(found->index), V1(found->order), count, V2(work->owners),
                                          V2(found->people), V1(found->scores), V1(found->sizes));
    return posert_k_assemble_pairwise(V2(edges), V1(work->redundant), V3(work->peaks), V1(work->counts),
                                      V1(found->key), V1(found->value), V2(found->index), V1(found->order),
                                      V1(work->starts), V2(work->used), V2(found->people), V1(found->scores),
                                      V1(found->sizes));
}

/* Whether person `i` is whole enough; feet do not count, unless nobody would be left. */
static int is_kept(const posert__bodyparts_params *params, const listed *found, int64_t i, int with_feet)
{
    int64_t own = found->sizes.at[i], feet = 0;
    for (int f = 0; f < params->foot_parts_count; f++)
        feet += found->people.at[i * found->people.n[1] + params->foot_parts[f]] >= 0;
    if (with_feet && own <= 0) return 0;
    if (!with_feet) {
        own -= feet;
        if (feet != 0 && own <= 4) return 0;
    }
    return own >= params->min_parts && found->scores.at[i] >= params->min_score * (double)own;
}

static void add_person(const bodyparts_work *work, const listed *found, int64_t i, posert__people *people)
{
    const int64_t parts = people->keypoint_count, most = work->peaks.n[1];
    float *keypoints = people->keypoints + 3 * parts * people->count;
    for (int64_t k = 0; k < parts; k++) {
        const int32_t peak = found->people.at[i * parts + k];
        for (int c = 0; c < 3 && peak >= 0; c++) keypoints[3 * k + c] = work->peaks.at[(k * most + peak) * 3 + c];
    }
    people->scores[people->count] = (float)(found->scores.at[i] / (double)(parts + posert__the_model.edge_count));
    posert__box_keypoints(keypoints, parts, people->boxes + 4 * people->count);
    people->count++;
}

static posert_status collect(posert *p, const posert__bodyparts_params *params, const bodyparts_work *work,
                             const listed *found, int64_t rows, posert__people *people)
{
    const int64_t before = people->count;
    const posert_status status = posert__grow(p, people, rows);
    for (int with_feet = 0; status == POSERT_OK && with_feet < 2 && people->count == before; with_feet++)
        for (int64_t i = 0; i < rows; i++)
            if (is_kept(params, found, i, with_feet)) add_person(work, found, i, people);
    return status;
}

static posert_status decode(posert *p, const posert__stage *stage, posert__memory *memory,
                            const posert__tensor *outputs, const int input_wh[2], posert__people *people)
{
    const posert__bodyparts_params *params = stage->params;
    posert__f32 heat, field;
    posert_status status = posert__part_maps(p, stage, outputs, "bodyparts", params->paf_channels, &heat, &field);
    if (status != POSERT_OK) return status;
    bodyparts_work *work = work_for(memory, params, heat.n[1], heat.n[2], input_wh);
    if (work == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for maps of this size");
    posert__arena arena = {0};
    listed found;
    find_peaks(params, heat, work);
    list(&arena, work, &found);
    status = arena.failed ? posert__fail(p, POSERT_NO_MEMORY, "no memory for the limbs") : POSERT_OK;
    if (status == POSERT_OK)
        status = collect(p, params, work, &found, assemble(params, field, input_wh, work, &found), people);
    posert__free(&arena);
    return status;
}

const posert__decoder posert__bodyparts = {decode};
