/* Decoder `detect`: boxes around people, and no keypoints; the twin of postprocess/detect.py. */
#include "constants.h"
#include "internal.h"
#include "kernels.h"

/* Darknet's anchors: width and height px of three for each of the strides 8, 16, 32. */
static const float ANCHORS[18] = POSERT__ANCHORS;
static const char *const HEADS[3] = {"head8", "head16", "head32"};

typedef struct detect_work {
    posert__f32 found; /* left, top, right, bottom px, the score to sort by, the score */
    posert__u8 alive;
    posert__i64 picks;
} detect_work;

static detect_work *work_for(posert__memory *memory, int64_t rows)
{
    const int64_t key[8] = {rows};
    int fresh;
    detect_work *work = posert__work(memory, key, sizeof *work, &fresh);
    if (work != NULL && fresh) {
        NEW2(&memory->arena, work->found, rows, 6);
        NEW1(&memory->arena, work->alive, rows);
        NEW1(&memory->arena, work->picks, rows);
    }
    return memory->arena.failed ? NULL : work;
}

static int64_t suppress(detect_work *work, int64_t count, double max_iou, double extra_px, int inclusive)
{
    return posert_k_box_nms(V2(work->found), count, max_iou, extra_px, inclusive, work->alive.at, count,
                            work->picks.at, count);
}

/* The number of picks among YOLOX rows; -1 = they do not fit, -2 = no memory. */
static int64_t from_rows(const posert__detect_params *params, const posert__tensor *rows, const int input_wh[2],
                         posert__memory *memory, detect_work **work)
{
    int64_t cells = 0;
    for (int stride = 8; stride <= 32; stride *= 2) cells += (int64_t)(input_wh[0] / stride) * (input_wh[1] / stride);
    if (rows->n[1] != cells || rows->n[2] != 5 + params->classes || rows->n[3]) return -1;
    *work = work_for(memory, cells);
    if (*work == NULL) return -2;
    const int64_t count = posert_k_yolox_boxes(rows->at, rows->n[1], rows->n[2], input_wh[0], input_wh[1],
                                               params->min_score, params->person, V2((*work)->found));
    return suppress(*work, count, params->max_iou, 0.0, 0);
}

/* The number of picks among YOLOv3 heads; -1 = they do not fit, -2 = no memory. */
static int64_t from_heads(const posert__detect_params *params, const posert__tensor *const heads[3],
                          const int input_wh[2], posert__memory *memory, detect_work **work)
{
    int64_t cells = 0, count = 0;
    for (int i = 0; i < 3; i++) {
        const posert__tensor *head = heads[i];
        if (head == NULL || head->n[1] != 3 * (5 + params->classes) || head->n[2] != input_wh[1] / (8 << i) ||
            head->n[3] != input_wh[0] / (8 << i) || head->n[4])
            return -1;
        cells += 3 * head->n[2] * head->n[3];
    }
    *work = work_for(memory, cells);
    if (*work == NULL) return -2;
    for (int i = 2; i >= 0; i--) /* the coarse grid first */
        count = posert_k_yolov3_boxes(heads[i]->at, heads[i]->n[1], heads[i]->n[2], heads[i]->n[3], 8 << i,
                                      (float *)ANCHORS + 6 * i, 6, params->min_score, params->person, V2((*work)->found),
                                      count);
    int64_t kept = suppress(*work, count, params->max_iou, 1.0, 1);
    if (kept > params->crowd) kept = suppress(*work, count, params->crowd_max_iou, 1.0, 1);
    return kept;
}

static posert_status decode(posert *p, const posert__stage *stage, posert__memory *memory,
                            const posert__tensor *outputs, const int input_wh[2], posert__people *people)
{
    const posert__tensor *rows = posert__output(stage, outputs, "grid_rows"), *heads[3];
    detect_work *work = NULL;
    for (int i = 0; i < 3; i++) heads[i] = posert__output(stage, outputs, HEADS[i]);
    const int64_t kept = rows != NULL ? from_rows(stage->params, rows, input_wh, memory, &work)
                                      : from_heads(stage->params, heads, input_wh, memory, &work);
    if (kept == -1) return posert__fail(p, POSERT_FAILED, "the detector's output does not fit its classes or its input");
    if (kept == -2) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the detector's boxes");
    posert_status status = posert__grow(p, people, kept);
    for (int64_t i = 0; status == POSERT_OK && i < kept; i++) {
        const float *row = work->found.at + 6 * work->picks.at[i];
        for (int side = 0; side < 4; side++) people->boxes[4 * people->count + side] = row[side];
        people->scores[people->count++] = row[5];
    }
    return status;
}

const posert__decoder posert__detect = {decode};
