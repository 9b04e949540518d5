/* What the rooms of the library share: memory, arrays, people, and how a decoder looks. Private. */
#ifndef POSERT_INTERNAL_H
#define POSERT_INTERNAL_H

#include "ort_abi.h"
#include "params.h"
#include "posert.h"

/* Arrays as the kernels take them, C-contiguous: V2(a) stands for a pointer and two dimensions in a call. */
typedef struct { float *at; int64_t n[5]; } posert__f32;
typedef struct { double *at; int64_t n[5]; } posert__f64;
typedef struct { int32_t *at; int64_t n[5]; } posert__i32;
typedef struct { int64_t *at; int64_t n[5]; } posert__i64;
typedef struct { uint8_t *at; int64_t n[5]; } posert__u8;
#define V1(a) (a).at, (a).n[0]
#define V2(a) V1(a), (a).n[1]
#define V3(a) V2(a), (a).n[2]
#define V4(a) V3(a), (a).n[3]

/* Memory that is freed all at once. `failed` stays set after the first allocation that did not succeed. */
typedef struct posert__arena {
    struct posert__block *last;
    int failed;
} posert__arena;

void *posert__take(posert__arena *arena, size_t size, int64_t a, int64_t b, int64_t c, int64_t d);
void posert__free(posert__arena *arena);

/* NEW2(arena, array, rows, columns): a new array of zeros. */
#define NEW1(arena, v, a) ((v).n[0] = (a), (v).at = posert__take(arena, sizeof *(v).at, (v).n[0], 1, 1, 1))
#define NEW2(arena, v, a, b) \
    ((v).n[0] = (a), (v).n[1] = (b), (v).at = posert__take(arena, sizeof *(v).at, (v).n[0], (v).n[1], 1, 1))
#define NEW3(arena, v, a, b, c) \
    ((v).n[0] = (a), (v).n[1] = (b), (v).n[2] = (c), \
     (v).at = posert__take(arena, sizeof *(v).at, (v).n[0], (v).n[1], (v).n[2], 1))

/* What a decoder keeps from one picture to the next: `work` fits the sizes in `key`. */
typedef struct posert__memory {
    posert__arena arena;
    void *work;
    int64_t key[8];
} posert__memory;

/* The work of these sizes: the kept one, or (*fresh = 1) a new one of `size` zero bytes; NULL without memory. */
void *posert__work(posert__memory *memory, const int64_t key[8], size_t size, int *fresh);

/* An output of a network, or one row of it (then n[0] is 1). */
typedef posert__f32 posert__tensor;

/* People that grow as they are found. */
typedef struct posert__people {
    int64_t count, room, keypoint_count;
    float *keypoints, *scores, *boxes;
} posert__people;

posert_status posert__grow(posert *p, posert__people *people, int64_t more);
void posert__box_keypoints(const float *keypoints, int64_t count, float box[4]);

/* A decoder adds the people of one row, in pixels of the network input. Roles as the stage names them. */
struct posert__decoder {
    posert_status (*decode)(posert *p, const posert__stage *stage, posert__memory *memory,
                            const posert__tensor *outputs, const int input_wh[2], posert__people *people);
};

/* A rule that drops people found twice; `regions` are where they were looked for, in the same order. */
struct posert__suppression {
    posert_status (*suppress)(posert *p, const void *params, const posert__people *regions, posert__people *people);
};

extern const posert__decoder posert__bodyparts, posert__cifcaf, posert__detect, posert__direct, posert__heatmap, posert__paf;
extern const posert__suppression posert__suppress_poses;

/* The output of a role; NULL if the stage has none. */
const posert__tensor *posert__output(const posert__stage *stage, const posert__tensor *outputs, const char *role);
/* The first image's heatmaps [parts][h][w] and PAFs [channels][h][w] of `decoder`, checked against the model. */
posert_status posert__part_maps(posert *p, const posert__stage *stage, const posert__tensor *outputs,
                                const char *decoder, const int64_t (*paf_channels)[2], posert__f32 *heat,
                                posert__f32 *field);

/* Sets the handle's error text; returns `status`. */
posert_status posert__fail(posert *p, posert_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* ort.c */
enum { POSERT__MAX_STAGES = 4, POSERT__MAX_OUTPUTS = 8 };
typedef struct posert__runtime {
    void *library;
    ort_api api;
    void *env, *memory_info, *sessions[POSERT__MAX_STAGES];
} posert__runtime;
typedef struct posert__run {
    posert__tensor outputs[POSERT__MAX_OUTPUTS];
    void *values[POSERT__MAX_OUTPUTS];
} posert__run;
posert_status posert__load(posert *p, posert__runtime *runtime, const posert_options *options);
void posert__unload(posert__runtime *runtime);
posert_status posert__infer(posert *p, posert__runtime *runtime, int stage, void *data, const int64_t dims[4],
                            posert__run *run);
void posert__release(posert__runtime *runtime, posert__run *run);

/* prepare.c */
typedef struct posert__pixels {
    posert__u8 rows; /* [H][W*3] */
    int width, height, rgb;
} posert__pixels;
void posert__place(const posert__input *input, int width, int height, double window[4], int input_wh[2]);
void posert__place_box(const posert__input *input, const float box[4], double window[4]);
posert_status posert__sample(posert *p, const posert__pixels *image, const double window[4],
                             const posert__input *input, const int input_wh[2], void *row);

/* regions.c; both change the people into regions: boxes and scores, with an area inside the frame. */
void posert__keep_usable(posert__people *found, int width, int height);
void posert__next_regions(posert__people *people, int width, int height);

/* taps.c */
typedef struct posert__taps {
    posert__i64 first;
    posert__f32 weight;
} posert__taps;
/* A matrix f64 [size][length] that up-samples `length` cells to `size` samples: POSERT__AREA, _CUBIC or _KEYS; NULL
 * without memory. */
double *posert__upsampling(posert__arena *arena, int rule, int64_t length, int64_t size, int normalised);
double *posert__smoothed(posert__arena *arena, const double *matrix, int64_t length, int64_t size,
                         const double *kernel, int taps);
void posert__band(posert__arena *arena, const double *matrix, int64_t length, int64_t size, posert__taps *taps);
double posert__gain(const posert__taps *taps);

#endif
