/* What the rooms of the library share: the model's table, which `posert bundle` writes, what lies behind the handle, and
 * how kernels are called. Private. No decoder and no rule is known here: the table brings their kernels. */
#ifndef POSERT_INTERNAL_H
#define POSERT_INTERNAL_H

#include "posert.h"

/* Arrays as the kernels take them: a pointer and its dimensions. They write only to what the library gave them to. */
#define POSERT__1(at, a) (at), (int64_t)(a)
#define POSERT__2(at, a, b) POSERT__1(at, a), (int64_t)(b)
#define POSERT__3(at, a, b, c) POSERT__2(at, a, b), (int64_t)(c)

enum { POSERT__ROLES = 4, POSERT__AXES = 5 }; /* a decoder's arrays, and the axes of one */
enum { POSERT__CONSTANTS = 8 };               /* of a network, at most */
enum { POSERT__RULE, POSERT__SHARE, POSERT__SLACK, POSERT__PATIENCE, POSERT__CUT, POSERT__FOLLOWS }; /* `FollowOptions` */
enum { POSERT__WINDOW = 6 };                  /* left, top, right, bottom px, cosine and sine of its turn */

/* The kernels of a decoder (shapes, size, numbers, table ...; see `DecoderKernels` in Python), and of a rule. */
typedef int64_t posert__decoder_workspace(int64_t *, int64_t, int64_t, int64_t *, int64_t, double *, int64_t, int64_t *,
                                          int64_t, int64_t *, int64_t);
typedef int64_t posert__decoder_people(float *, int64_t, float *, int64_t, float *, int64_t, float *, int64_t,
                                       int64_t *, int64_t, int64_t, int64_t *, int64_t, double *, int64_t, int64_t *,
                                       int64_t, uint8_t *, int64_t, int64_t *, int64_t, float *, int64_t, int64_t,
                                       int64_t, float *, int64_t, float *, int64_t, int64_t);
typedef int64_t posert__rule_workspace(int64_t, int64_t, double *, int64_t);
typedef int64_t posert__rule_people(float *, int64_t, int64_t, int64_t, float *, int64_t, int64_t, float *, int64_t,
                                    double *, int64_t, uint8_t *, int64_t, float *, int64_t, int64_t, int64_t, float *,
                                    int64_t, float *, int64_t, int64_t);

typedef struct posert__numbers {
    double *at;
    int64_t count;
} posert__numbers;

typedef struct posert__decoder {
    const char *name;
    posert__decoder_workspace *workspace;
    posert__decoder_people *people;
    posert__numbers numbers;
    int64_t *table, table_count;
    const char *const *problems, *const *roles;
} posert__decoder;

typedef struct posert__rule { /* drops people found twice */
    posert__rule_workspace *workspace;
    posert__rule_people *people;
    posert__numbers numbers;
    const char *const *problems;
} posert__rule;

/* Parts of people, each with its rule; see `PartRules` in Python. Their kernels, so that only who needs them has them. */
typedef struct posert__parts {
    int64_t (*place)(double *, int64_t, double *, int64_t, double *, int64_t, float *, int64_t, int64_t, int64_t,
                     float *, int64_t, int64_t, int64_t, uint8_t *, int64_t, double *, int64_t, int64_t, int64_t *,
                     int64_t, int64_t);
    int64_t (*put)(float *, int64_t, int64_t, int64_t, float *, int64_t, float *, int64_t, int64_t, int64_t);
    int64_t (*drop_doubles)(float *, int64_t, int64_t, int64_t, int64_t *, int64_t, int64_t, double, float *, int64_t);
    int count;
    const posert__numbers *each;
    int64_t *firsts; /* of each part: its first keypoint among the person's */
    double apart;
    posert__numbers again; /* `Turn`; none = parts are not followed */
} posert__parts;

/* What a network takes besides the picture: numbers, or the input's width (side 1) or height (side 2), px. */
typedef struct posert__constant {
    const char *name;
    posert_type type;
    int per_row, axes; /* axes: of a row, or of the whole */
    int64_t dims[POSERT__AXES];
    posert__numbers numbers; /* as many as dims have, or one for all */
    const int *sides;
} posert__constant;

typedef enum posert__region { POSERT__FRAME, POSERT__BOXES, POSERT__FOLLOW, POSERT__PARTS } posert__region;

/* One network and the decoder of its outputs. */
typedef struct posert__stage {
    posert__region region;
    const char *file;
    uint64_t file_bytes, file_hash; /* FNV-1a, 64 bits */
    const char *input;
    posert_type type;
    int nhwc, most_rows; /* of one network call */
    int64_t size_wh[2];    /* of the input, where it looks at boxes */
    posert__numbers place; /* `InputSpec` */
    double max_iou;        /* a box that overlaps a followed person's more is nobody new */
    int output_count;
    const char *const *outputs;
    const int *roles; /* of each output: which array of the decoder it is */
    int keypoint_count;   /* of its people */
    posert__numbers turn; /* `Turn`; none = its regions are upright */
    const posert__parts *parts; /* that it looks at of each person, or NULL */
    int constant_count;
    const posert__constant *constants;
    posert__decoder decoder;
    const posert__rule *rule; /* or NULL */
} posert__stage;

typedef struct posert__model {
    const char *name, *version;
    int keypoint_count, most_keypoints; /* of a person, parts included; and of the stage with the most */
    const char *const *names;
    int64_t *torso; /* left and right hip, left and right shoulder; -1 = the model has none */
    int64_t *sides; /* of each keypoint its mirror image and its limb; or none */
    int side_count;
    posert__numbers follow;          /* `FollowOptions` */
    int64_t memory_size, scene_size; /* numbers that are kept of each person and of a picture by the steady rule */
    int stage_count, body_count; /* those behind `body_count` stages look at parts of people */
    const posert__stage *stages;
} posert__model;

#ifdef POSERT_WASM
extern posert__model posert__the_model; /* read from a table when it is opened */
#else
extern const posert__model posert__the_model;
#endif

/* People that grow as they are found. */
typedef struct posert__people {
    int64_t count, room;
    float *keypoints, *scores, *boxes, *region_boxes, *region_scores; /* the region: where a person was looked for */
} posert__people;

typedef struct posert__buffer {
    void *at;
    size_t bytes;
} posert__buffer;

/* What a decoder keeps from one picture to the next, for outputs of these shapes. */
typedef struct posert__bench {
    int64_t shapes[POSERT__ROLES][POSERT__AXES], size[3], most;
    posert__buffer workspace;
    int64_t workspace_bytes; /* 0 = none yet */
} posert__bench;

typedef struct posert__pixels {
    uint8_t *at; /* [H][W*3] */
    int width, height, rgb;
} posert__pixels;

/* The picture at work. */
typedef struct posert__turn {
    enum { POSERT__IDLE, POSERT__BEGUN, POSERT__FED } state;
    posert__pixels pixels;
    int stage, given; /* 1 = the caller says in which boxes to look */
    int64_t input_wh[2], count, start, rows; /* windows of the stage, of them done, of them in the network */
} posert__turn;

struct posert {
    char error[1024];
    void *runtime; /* NULL = the program runs the network itself */
    posert__turn turn;
    posert__people found[3]; /* of the stage at work and of the one before; `last` is the result. [2]: of the rule */
    posert__people whole[2]; /* with their parts, of this picture (`now`) and of the last */
    posert__buffer packed, tensor, constants, windows, owners, sampling, ruling, following;
    posert__buffer memory[2]; /* of the steady rule, of each person: of this picture and of the last one, taking turns */
    posert__buffer scene;     /* of the last picture, by which a cut is known */
    posert__buffer widened[POSERT__ROLES]; /* outputs that came as float16 or whole numbers */
    int detect_every, since_detection; /* pictures; the latter 0 = detect on the next one */
    int last, now;                     /* which of `found` holds the last picture's people; which of `whole` this one's */
    int opened;
    int steady;        /* the rule that follows people */
    double follow[POSERT__FOLLOWS];
    int newest;        /* which of `memory` is the last picture's */
    int64_t remembers; /* so many people in it */
    int64_t follows; /* so many windows in `following`: of the last picture's people, in order; NaN where none follows */
    posert__bench benches[]; /* of each stage */
};

/* posert.c */
posert_status posert__fail(posert *p, posert_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;
/* The buffer, with room for so many bytes; what was in it is lost. NULL without memory. */
void *posert__at_least(posert__buffer *buffer, int64_t bytes);
/* Bytes of an element. */
int64_t posert__size(posert_type type);
/* The handle and what it needs to decode, or NULL. posert_close() frees it. */
posert *posert__new(void);
/* posert_begin() with so many boxes to look in, f32 [count][5] (left, top, right, bottom px, score), or NULL. */
posert_status posert__begin(posert *p, const posert_image *image, const float *boxes, int count);

/* look.c */
/* The handle follows people as asked for, if the model does. */
void posert__set_follow(posert *p, posert_follow asked);
/* Forgets the last picture; with `scene` also how it looked. */
void posert__forget(posert *p, int scene);
/* Whether the regions are known without the detector; then they replace the last picture's people. */
posert_status posert__know_regions(posert *p, int *known);
/* The regions are boxes of the caller's, as of posert__begin(); whoever was followed is forgotten. */
posert_status posert__take_boxes(posert *p, const float *boxes, int64_t count);
/* The turn's stage begins, without people yet; it looks at the frame, after the last picture's people, or around each of
 * the people of the stage before. */
posert_status posert__enter(posert *p);
/* All windows of the turn's stage are done: its people are complete. */
posert_status posert__leave(posert *p);

/* parts.c */
/* The body's stages are done: its people get room for their parts. */
posert_status posert__begin_parts(posert *p);
/* The windows of a stage that looks at parts; its people, one window's at a time, are not the result. */
posert_status posert__enter_parts(posert *p);
/* What a window shows becomes keypoints of its person. */
posert_status posert__put_part(posert *p, const posert_tensor *outputs, int64_t row);
/* Parts that are another one of the same person go. */
void posert__leave_parts(posert *p);

/* people.c */
/* Room for `more` people behind those who are there. */
posert_status posert__grow(posert *p, posert__people *people, int64_t more);
/* Adds the people of row `row` of the stage's outputs, in pixels of the network's input. */
posert_status posert__decode(posert *p, int stage, const posert_tensor *outputs, int64_t row, const int64_t input_wh[2],
                             posert__people *people);
/* Drops the people found twice. */
posert_status posert__suppress(posert *p, const posert__stage *stage, posert__people *people);

/* constants.c */
/* Adds the stage's constants to the feed, for its rows and its input's size. */
posert_status posert__feed_constants(posert *p, const posert__stage *stage, posert_feed *feed);

/* ort.c; a program that is compiled with POSERT_WITHOUT_ORT goes without, and without ops.c */
posert_status posert__load(posert *p, const posert_options *options);
void posert__unload(void *runtime);

#endif
