/* Memory and errors: arenas, work that decoders keep, people that grow. */
#include "handle.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct posert__block {
    struct posert__block *before;
    double data[1]; /* aligned for every type of ours */
};

void *posert__take(posert__arena *arena, size_t size, int64_t a, int64_t b, int64_t c, int64_t d)
{
    const int64_t sides[4] = {a, b, c, d};
    const size_t most = (size_t)1 << 40;
    size_t bytes = size;
    for (int i = 0; i < 4; i++) {
        if (sides[i] < 0 || (sides[i] > 0 && bytes > most / (size_t)sides[i])) arena->failed = 1;
        else bytes *= (size_t)sides[i];
    }
    struct posert__block *block = arena->failed ? NULL : calloc(1, offsetof(struct posert__block, data) + bytes + 8);
    if (block == NULL) {
        arena->failed = 1;
        return NULL;
    }
    block->before = arena->last;
    arena->last = block;
    return block->data;
}

void posert__free(posert__arena *arena)
{
    while (arena->last != NULL) {
        struct posert__block *before = arena->last->before;
        free(arena->last);
        arena->last = before;
    }
    arena->failed = 0;
}

void *posert__work(posert__memory *memory, const int64_t key[8], size_t size, int *fresh)
{
    *fresh = memory->work == NULL || memory->arena.failed || memcmp(memory->key, key, sizeof memory->key) != 0;
    if (*fresh) {
        posert__free(&memory->arena);
        memcpy(memory->key, key, sizeof memory->key);
        memory->work = posert__take(&memory->arena, size, 1, 1, 1, 1);
    }
    return memory->work;
}

static int enlarge(float **array, int64_t used, int64_t room, int64_t each)
{
    float *larger = realloc(*array, (size_t)(room * each + 1) * sizeof(float));
    if (larger == NULL) return 0;
    memset(larger + used * each, 0, (size_t)((room - used) * each) * sizeof(float));
    *array = larger;
    return 1;
}

/* Room for `more` people behind those who are there, all zeros. */
posert_status posert__grow(posert *p, posert__people *people, int64_t more)
{
    const int64_t each = 3 * (int64_t)posert__the_model.keypoint_count; /* the buffers serve every stage */
    if (people->count + more > people->room || people->keypoints == NULL) {
        const int64_t room = 2 * people->room + more + 8;
        if (!enlarge(&people->keypoints, people->count, room, each) ||
            !enlarge(&people->scores, people->count, room, 1) || !enlarge(&people->boxes, people->count, room, 4))
            return posert__fail(p, POSERT_NO_MEMORY, "no memory for %d people", (int)room);
        people->room = room;
        return POSERT_OK;
    }
    memset(people->keypoints + people->count * each, 0, (size_t)(more * each) * sizeof(float));
    memset(people->scores + people->count, 0, (size_t)more * sizeof(float));
    memset(people->boxes + people->count * 4, 0, (size_t)(more * 4) * sizeof(float));
    return POSERT_OK;
}

/* The box around the keypoints with a score above 0; 0, 0, 0, 0 where there is none. */
void posert__box_keypoints(const float *keypoints, int64_t count, float box[4])
{
    box[0] = box[1] = INFINITY;
    box[2] = box[3] = -INFINITY;
    for (int64_t k = 0; k < count; k++)
        for (int axis = 0; axis < 2 && keypoints[3 * k + 2] > 0; axis++) {
            const float value = keypoints[3 * k + axis];
            if (value < box[axis] || value != value) box[axis] = value;
            if (value > box[2 + axis] || value != value) box[2 + axis] = value;
        }
    for (int i = 0; i < 4; i++)
        if (!isfinite(box[i])) box[i] = 0;
}

const posert__tensor *posert__output(const posert__stage *stage, const posert__tensor *outputs, const char *role)
{
    for (int i = 0; i < stage->output_count; i++)
        if (strcmp(stage->roles[i], role) == 0) return &outputs[i];
    return NULL;
}

posert_status posert__fail(posert *p, posert_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->error, sizeof p->error, format, arguments);
    va_end(arguments);
    return status;
}

posert_status posert__part_maps(posert *p, const posert__stage *stage, const posert__tensor *outputs,
                                const char *decoder, const int64_t (*paf_channels)[2], posert__f32 *heat,
                                posert__f32 *field)
{
    const posert__tensor *maps = posert__output(stage, outputs, "heatmaps");
    const posert__tensor *pafs = posert__output(stage, outputs, "pafs");
    if (maps == NULL || pafs == NULL || maps->n[1] < posert__the_model.keypoint_count || maps->n[4] || pafs->n[4] ||
        maps->n[2] != pafs->n[2] || maps->n[3] != pafs->n[3] || maps->n[2] < 1 || maps->n[3] < 1)
        return posert__fail(p, POSERT_FAILED, "the network's heatmaps and pafs do not fit the decoder %s", decoder);
    for (int i = 0; i < posert__the_model.edge_count; i++)
        if (paf_channels[i][0] >= pafs->n[1] || paf_channels[i][1] >= pafs->n[1])
            return posert__fail(p, POSERT_FAILED, "the network gives %d pafs, too few for its limbs", (int)pafs->n[1]);
    *heat = (posert__f32){maps->at, {maps->n[1], maps->n[2], maps->n[3]}};
    *field = (posert__f32){pafs->at, {pafs->n[1], pafs->n[2], pafs->n[3]}};
    return POSERT_OK;
}
