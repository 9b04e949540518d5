/* The model's decoder as the ONNX Runtime operator `posert::People`, for sessions of other programs.
 *
 * Inputs: the shape of the network's input, int64 [4], then its outputs in the order of the model's table, float32.
 * Outputs: `keypoints` float32 [N][K][3] (px of the network's input, score) and `scores` float32 [N]; the people of
 * all rows of a batch, one row after the other. Maps that do not fit the decoder show nobody: an operator of this
 * version of the interface cannot fail. */
#include "handle.h"

#include <stdlib.h>
#include <string.h>

enum { OPERATOR_VERSION = 11, ORT_INT64 = 7, REQUIRED = 0 };
enum {
    ORT_CreateCustomOpDomain = 26,
    ORT_CustomOpDomain_Add = 27,
    ORT_AddCustomOpDomain = 28,
    ORT_KernelContext_GetInput = 90,
    ORT_KernelContext_GetOutput = 91
};

/* OrtCustomOp as it was at version 11; newer versions of ONNX Runtime read no further then. */
typedef struct custom_op {
    uint32_t version;
    void *(*create)(const struct custom_op *, ort_api, const void *info);
    const char *(*name)(const struct custom_op *);
    const char *(*provider)(const struct custom_op *);
    int (*input_type)(const struct custom_op *, size_t);
    size_t (*input_count)(const struct custom_op *);
    int (*output_type)(const struct custom_op *, size_t);
    size_t (*output_count)(const struct custom_op *);
    void (*compute)(void *kernel, void *context);
    void (*destroy)(void *kernel);
    int (*input_kind)(const struct custom_op *, size_t);
    int (*output_kind)(const struct custom_op *, size_t);
    void *later[40];
} custom_op;

typedef struct kernel { ort_api api; } kernel;

static void *create(const custom_op *op, ort_api api, const void *info)
{
    kernel *own = calloc(1, sizeof *own);
    (void)op, (void)info;
    if (own != NULL) own->api = api;
    return own;
}

static void destroy(void *own) { free(own); }

static const char *name(const custom_op *op) { return (void)op, "People"; }

static const char *provider(const custom_op *op) { return (void)op, (const char *)NULL; } /* the CPU's */

static int input_type(const custom_op *op, size_t index) { return (void)op, index == 0 ? ORT_INT64 : ORT_FLOAT; }

static size_t input_count(const custom_op *op) { return (void)op, 1 + (size_t)posert__the_model.stages[0].output_count; }

static int output_type(const custom_op *op, size_t index) { return (void)op, (void)index, ORT_FLOAT; }

static size_t output_count(const custom_op *op) { return (void)op, (size_t)2; }

static int kind(const custom_op *op, size_t index) { return (void)op, (void)index, REQUIRED; }

/* Data and shape of an input; 0 if it has more than five axes. */
static int read_input(ort_api api, void *context, size_t index, void **data, int64_t shape[5])
{
    const void *value = NULL;
    void *info = NULL;
    size_t axes = 0;
    memset(shape, 0, 5 * sizeof *shape);
    if (ORT(api, void *, KernelContext_GetInput, void *, size_t, const void **)(context, index, &value) ||
        ORT(api, void *, GetTensorTypeAndShape, const void *, void **)(value, &info))
        return 0;
    ORT(api, void *, GetDimensionsCount, const void *, size_t *)(info, &axes);
    if (axes <= 5) ORT(api, void *, GetDimensions, const void *, int64_t *, size_t)(info, shape, axes);
    ORT(api, void, ReleaseTensorTypeAndShapeInfo, void *)(info);
    return axes <= 5 && !ORT(api, void *, GetTensorMutableData, const void *, void **)(value, data);
}

static void write_output(ort_api api, void *context, size_t index, const int64_t *shape, size_t axes, const float *from)
{
    void *value = NULL, *to = NULL;
    size_t bytes = sizeof *from;
    for (size_t i = 0; i < axes; i++) bytes *= (size_t)shape[i];
    if (ORT(api, void *, KernelContext_GetOutput, void *, size_t, const int64_t *, size_t, void **)(
            context, index, shape, axes, &value) ||
        ORT(api, void *, GetTensorMutableData, const void *, void **)(value, &to))
        return;
    if (bytes > 0) memcpy(to, from, bytes);
}

/* Adds the people of all rows to `people`. */
static void decode(ort_api api, void *context, posert *p, posert__people *people)
{
    const posert__stage *stage = &posert__the_model.stages[0];
    posert__tensor outputs[POSERT__MAX_OUTPUTS], row[POSERT__MAX_OUTPUTS];
    int64_t shape[5], rows = -1;
    void *data = NULL;
    if (!read_input(api, context, 0, &data, shape) || shape[0] != 4) return;
    const int64_t *sides = data, nhwc = stage->input.layout == POSERT__NHWC;
    const int input_wh[2] = {(int)sides[nhwc ? 2 : 3], (int)sides[nhwc ? 1 : 2]};
    for (int i = 0; i < stage->output_count; i++) {
        if (!read_input(api, context, (size_t)i + 1, &data, outputs[i].n)) return;
        outputs[i].at = data;
        rows = rows < 0 || outputs[i].n[0] < rows ? outputs[i].n[0] : rows;
    }
    for (int64_t number = 0; number < rows; number++) {
        for (int i = 0; i < stage->output_count; i++) {
            int64_t size = 1;
            row[i] = outputs[i];
            for (int axis = 1; axis < 5 && row[i].n[axis]; axis++) size *= row[i].n[axis];
            row[i].at += number * size;
            row[i].n[0] = 1;
        }
        if (stage->decoder->decode(p, stage, &p->decoders[0], row, input_wh, people) != POSERT_OK) return;
    }
}

/* Several threads may compute at once, so nothing is kept from one call to the next. */
static void compute(void *own, void *context)
{
    const ort_api api = ((kernel *)own)->api;
    posert *p = calloc(1, sizeof *p);
    const posert__people nobody = {0, 0, 0, NULL, NULL, NULL};
    if (p != NULL) {
        p->found[0].keypoint_count = posert__the_model.keypoint_count;
        decode(api, context, p, &p->found[0]);
    }
    const posert__people *people = p != NULL ? &p->found[0] : &nobody;
    const int64_t shape[3] = {people->count, posert__the_model.keypoint_count, 3};
    write_output(api, context, 0, shape, 3, people->keypoints);
    write_output(api, context, 1, shape, 1, people->scores);
    posert_close(p);
}

void *RegisterCustomOps(void *options, const void *api_base)
{
    static const custom_op people = {
        OPERATOR_VERSION, create, name, provider, input_type, input_count, output_type, output_count, compute, destroy,
        kind, kind, {NULL},
    };
    const ort_api_base *base = api_base;
    const ort_api api = base->GetApi(ORT_API_WANTED);
    void *domain = NULL, *status;
    if (api == NULL || posert__the_model.stage_count != 1) return NULL;
    status = ORT(api, void *, CreateCustomOpDomain, const char *, void **)("posert", &domain);
    if (status == NULL) status = ORT(api, void *, CustomOpDomain_Add, void *, const custom_op *)(domain, &people);
    if (status == NULL) status = ORT(api, void *, AddCustomOpDomain, void *, void *)(options, domain);
    return status;
}
