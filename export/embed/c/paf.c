/* Decoder `paf`: heatmaps and part-affinity fields to people, the twin of postprocess/paf.py. */
#include "constants.h"
#include "internal.h"
#include "kernels.h"

/* The plan (what follows from the size of the maps) and everything the kernels write to. */
typedef struct paf_work {
    int64_t high, wide; /* of the grid on which peaks are looked for, samples */
    posert__taps smooth_y, smooth_x, plain_y, plain_x;
    double gain, floor;
    posert__i64 hot, done, span, counts, link_counts, sizes;
    posert__f32 across, grid, peaks, value, links, scores;
    posert__i32 pair, order, people;
    posert__u8 used;
} paf_work;

static void plan_axis(posert__arena *arena, const posert__paf_params *params, int64_t length, int64_t size,
                      posert__taps *smooth, posert__taps *plain)
{
    posert__arena matrices = {0};
    const double *matrix = posert__upsampling(&matrices, params->interpolation, length, size, 1);
    if (params->smooth_taps > 1)
        matrix = posert__smoothed(&matrices, matrix, length, size, params->smooth_kernel, params->smooth_taps);
    posert__band(arena, matrix, length, size, smooth);
    posert__band(arena, posert__upsampling(&matrices, params->interpolation, length, size, 0), length, size, plain);
    arena->failed |= matrices.failed;
    posert__free(&matrices);
}

/* TensorFlow sums the overlaps and divides last; to repeat its bits, so do we. */
static double plain_gain(const posert__paf_params *params, int64_t length, int64_t size)
{
    return params->interpolation == POSERT__AREA ? (double)(1.0f / ((float)length / (float)size)) : 1.0;
}

static void plan(posert__arena *arena, const posert__paf_params *params, int64_t h, int64_t w, paf_work *work)
{
    work->high = (int64_t)((double)h * params->upsample) > 1 ? (int64_t)((double)h * params->upsample) : 1;
    work->wide = (int64_t)((double)w * params->upsample) > 1 ? (int64_t)((double)w * params->upsample) : 1;
    plan_axis(arena, params, h, work->high, &work->smooth_y, &work->plain_y);
    plan_axis(arena, params, w, work->wide, &work->smooth_x, &work->plain_x);
    work->gain = (double)(float)(plain_gain(params, h, work->high) * plain_gain(params, w, work->wide));
    if (arena->failed) return;
    double gain = posert__gain(&work->smooth_y) * posert__gain(&work->smooth_x);
    work->floor = params->peak_threshold / (gain > 1.0 ? gain : 1.0) * (1 - 1e-5);
}

static void allocate(posert__arena *arena, const posert__paf_params *params, int64_t h, paf_work *work)
{
    const int64_t parts = posert__the_model.keypoint_count, edges = posert__the_model.edge_count;
    const int64_t most = params->max_peaks;
    const int as_is = params->smooth_taps == 1 && params->upsample == 1;
    NEW2(arena, work->hot, h, 2);
    NEW2(arena, work->done, h, 2);
    NEW2(arena, work->span, work->high, 2);
    NEW2(arena, work->across, as_is ? 1 : h, as_is ? 1 : work->wide);
    NEW2(arena, work->grid, as_is ? 1 : work->high, as_is ? 1 : work->wide);
    NEW3(arena, work->peaks, parts, most, 4);
    NEW1(arena, work->counts, parts);
    NEW1(arena, work->value, most * most);
    NEW2(arena, work->pair, most * most, 2);
    NEW1(arena, work->order, most * most);
    NEW2(arena, work->used, 2, most);
    NEW3(arena, work->links, edges, most, 3);
    NEW1(arena, work->link_counts, edges);
    NEW2(arena, work->people, POSERT__MAX_PEOPLE, parts);
    NEW1(arena, work->scores, POSERT__MAX_PEOPLE);
    NEW1(arena, work->sizes, POSERT__MAX_PEOPLE);
}

static paf_work *work_for(posert__memory *memory, const posert__paf_params *params, int64_t h, int64_t w)
{
    const int64_t key[8] = {h, w};
    int fresh;
    paf_work *work = posert__work(memory, key, sizeof *work, &fresh);
    if (work != NULL && fresh) {
        plan(&memory->arena, params, h, w, work);
        allocate(&memory->arena, params, h, work);
    }
    return memory->arena.failed ? NULL : work;
}

/* The number of people before the small ones are left out. */
static int64_t assemble(const posert__paf_params *params, posert__f32 heat, posert__f32 field, paf_work *work)
{
    const posert__model *model = &posert__the_model;
    const posert__i64 edges = {(int64_t *)model->edges, {model->edge_count, 2}};
    const posert__i64 channels = {(int64_t *)params->paf_channels, {model->edge_count, 2}};
    posert_k_find_peaks(V3(heat), model->keypoint_count, params->peak_threshold, work->floor, params->peak_radius,
                        params->refine, V1(work->smooth_y.first), V2(work->smooth_y.weight), V1(work->smooth_x.first),
                        V2(work->smooth_x.weight), V1(work->plain_y.first), V2(work->plain_y.weight),
                        V1(work->plain_x.first), V2(work->plain_x.weight), work->gain, V2(work->hot), V2(work->done),
                        V2(work->span), V2(work->across), V2(work->grid), V3(work->peaks), V1(work->counts));
    posert_k_connect(V3(field), V2(edges), V2(channels), V3(work->peaks), V1(work->counts), params->limb_samples,
                     params->limb_closed, params->limb_threshold, params->limb_least, V1(work->plain_y.first),
                     V2(work->plain_y.weight), V1(work->plain_x.first), V2(work->plain_x.weight), work->gain,
                     V1(work->value), V2(work->pair), V1(work->order), V2(work->used), V3(work->links),
                     V1(work->link_counts));
    return posert_k_assemble(V2(edges), params->seeding_limbs, V3(work->peaks), V1(work->counts), V3(work->links),
                             V1(work->link_counts), params->assembly == POSERT__COMPLETE, params->strict_compat,
                             V2(work->people), V1(work->scores), V1(work->sizes));
}

static posert_status collect(posert *p, const posert__paf_params *params, paf_work *work, int64_t rows,
                             const int input_wh[2], posert__people *people)
{
    const int64_t parts = posert__the_model.keypoint_count;
    posert_status status = posert__grow(p, people, rows);
    if (status != POSERT_OK) return status;
    const posert__f32 keypoints = {people->keypoints + people->count * parts * 3, {rows, parts, 3}};
    const posert__f32 scores = {people->scores + people->count, {rows}};
    const int64_t count = posert_k_collect(
        V2(work->people), V1(work->scores), V1(work->sizes), rows, V3(work->peaks), V1(work->counts), params->min_parts,
        params->min_score, params->person_score == POSERT__MEAN ? 0 : parts, (double)work->wide, (double)work->high,
        input_wh[0], input_wh[1], params->offset_px, V3(keypoints), V1(scores));
    for (int64_t i = 0; i < count; i++)
        posert__box_keypoints(keypoints.at + i * parts * 3, parts, people->boxes + (people->count + i) * 4);
    people->count += count;
    return POSERT_OK;
}

static posert_status decode(posert *p, const posert__stage *stage, posert__memory *memory,
                            const posert__tensor *outputs, const int input_wh[2], posert__people *people)
{
    const posert__paf_params *params = stage->params;
    posert__f32 heat, field;
    const posert_status status = posert__part_maps(p, stage, outputs, "paf", params->paf_channels, &heat, &field);
    if (status != POSERT_OK) return status;
    paf_work *work = work_for(memory, params, heat.n[1], heat.n[2]);
    if (work == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for maps of this size");
    return collect(p, params, work, assemble(params, heat, field, work), input_wh, people);
}

const posert__decoder posert__paf = {decode};
