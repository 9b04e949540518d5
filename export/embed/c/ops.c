/* The model's decoder as the ONNX Runtime operator `posert::People`, for sessions of other programs.
 *
 * Inputs: the shape of the network's input, int64 [4], then its outputs in the order of the model's table, float32.
 * Outputs: `keypoints` float32 [N][K][3] (px of the network's input, score) and `scores` float32 [N]; the people of
 * all rows of a batch, one row after the other. What does not fit the decoder fails the run, from version 16 of the
 * interface on. Before that an operator cannot fail: its answer then is one person of NaN, whom nobody takes for one. */
#include "internal.h"
#include "ort_abi.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OLD_VERSION = 11, NEW_VERSION = 16, REQUIRED = 0, KEPT = 16 };

#ifdef _WIN32
#include <windows.h>
#define EXCHANGE(place, value) InterlockedExchangePointer(place, value)
#else
#define EXCHANGE(place, value) __atomic_exchange_n(place, value, __ATOMIC_ACQ_REL)
#endif

/* OrtCustomOp as it is at version 16; a runtime reads as far as `version` says. */
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
    int (*input_memory)(const struct custom_op *, size_t);
    void *variadic[4];
    void *(*create_or_fail)(const struct custom_op *, ort_api, const void *info, void **kernel);
    void *(*compute_or_fail)(void *kernel, void *context);
    void *later[20];
} custom_op;

/* Several threads may compute at once: each takes a decoder that no other has, and puts it back. */
typedef struct kernel {
    ort_api api;
    void *idle[KEPT]; /* posert */
} kernel;

static void *create(const custom_op *op, ort_api api, const void *info)
{
    kernel *own = calloc(1, sizeof *own);
    (void)op, (void)info;
    if (own != NULL) own->api = api;
    return own;
}

static void *create_or_fail(const custom_op *op, ort_api api, const void *info, void **own)
{
    *own = create(op, api, info);
    return *own ? NULL : ORT(api, CreateStatus)(ORT_FAIL, "posert::People: no memory");
}

static void destroy(void *own)
{
    for (int i = 0; own != NULL && i < KEPT; i++) posert_close(((kernel *)own)->idle[i]);
    free(own);
}

static posert *take(kernel *own)
{
    posert *p = NULL;
    for (int i = 0; p == NULL && i < KEPT; i++) p = EXCHANGE(&own->idle[i], NULL);
    return p != NULL ? p : posert__new();
}

static void put_back(kernel *own, posert *p)
{
    for (int i = 0; p != NULL && i < KEPT; i++) p = EXCHANGE(&own->idle[i], (void *)p);
    posert_close(p);
}

static const char *name(const custom_op *op) { return (void)op, "People"; }

static const char *provider(const custom_op *op) { return (void)op, (const char *)NULL; } /* the CPU's */

static int input_type(const custom_op *op, size_t index) { return (void)op, index == 0 ? ORT_INT64 : ORT_FLOAT; }

static size_t input_count(const custom_op *op) { return (void)op, 1 + (size_t)posert__the_model.stages[0].output_count; }

static int output_type(const custom_op *op, size_t index) { return (void)op, (void)index, ORT_FLOAT; }

static size_t output_count(const custom_op *op) { return (void)op, (size_t)2; }

static int kind(const custom_op *op, size_t index) { return (void)op, (void)index, REQUIRED; }

/* Data and shape of an input; 0 if it has no axis or more than five. */
static int read_input(ort_api api, void *context, size_t index, posert_tensor *tensor)
{
    const void *value = NULL;
    int type = 0;
    void *status = ORT(api, KernelContext_GetInput)(context, index, &value);
    if (status == NULL) status = posert__read_tensor(api, value, tensor, &type);
    if (status != NULL) ORT(api, ReleaseStatus)(status);
    return status == NULL && tensor->axes >= 1 && tensor->axes <= POSERT__AXES;
}

static void *write_output(ort_api api, void *context, size_t index, const int64_t *shape, size_t axes, const float *from)
{
    void *value = NULL, *to = NULL;
    size_t bytes = sizeof *from;
    for (size_t i = 0; i < axes; i++) bytes *= (size_t)shape[i];
    void *status = ORT(api, KernelContext_GetOutput)(context, index, shape, axes, &value);
    if (status == NULL) status = ORT(api, GetTensorMutableData)(value, &to);
    if (status == NULL && bytes > 0) memcpy(to, from, bytes);
    return status;
}

/* The people of all rows, as the handle's first. */
static posert_status decode(ort_api api, void *context, posert *p)
{
    const posert__stage *stage = &posert__the_model.stages[0];
    posert_tensor sides, outputs[POSERT__ROLES];
    posert_status status = POSERT_OK;
    p->found[0].count = 0;
    if (!read_input(api, context, 0, &sides) || sides.axes != 1 || sides.dims[0] != 4)
        return posert__fail(p, POSERT_FAILED, "its first input is the shape of the network's, four numbers");
    const int64_t *shape = (const void *)sides.data, input_wh[2] = {shape[stage->nhwc ? 2 : 3], shape[stage->nhwc ? 1 : 2]};
    for (int i = 0; i < stage->output_count; i++)
        if (!read_input(api, context, (size_t)i + 1, &outputs[i]) || outputs[i].dims[0] != outputs[0].dims[0])
            return posert__fail(p, POSERT_FAILED, "%s has other rows, or not 1 to 5 axes", stage->outputs[i]);
    for (int64_t row = 0; row < outputs[0].dims[0] && status == POSERT_OK; row++)
        status = posert__decode(p, 0, outputs, row, input_wh, &p->found[0]);
    return status;
}

static void *compute_or_fail(void *own, void *context)
{
    const ort_api api = ((kernel *)own)->api;
    posert *p = take(own);
    void *status;
    if (p == NULL || decode(api, context, p) != POSERT_OK) {
        status = ORT(api, CreateStatus)(ORT_FAIL, posert_error(p));
    } else {
        const int64_t shape[3] = {p->found[0].count, posert__the_model.keypoint_count, 3};
        status = write_output(api, context, 0, shape, 3, p->found[0].keypoints);
        if (status == NULL) status = write_output(api, context, 1, shape, 1, p->found[0].scores);
    }
    put_back(own, p);
    return status;
}

/* Where a failure cannot be told. */
static void compute(void *own, void *context)
{
    const ort_api api = ((kernel *)own)->api;
    const int64_t parts = posert__the_model.keypoint_count, shape[3] = {1, parts, 3};
    void *status = compute_or_fail(own, context);
    if (status == NULL) return;
    ORT(api, ReleaseStatus)(status);
    float *nobody = malloc((size_t)(3 * parts + 1) * sizeof *nobody);
    for (int64_t i = 0; nobody != NULL && i <= 3 * parts; i++) nobody[i] = NAN;
    if (nobody != NULL) {
        write_output(api, context, 0, shape, 3, nobody);
        write_output(api, context, 1, shape, 1, nobody);
    }
    free(nobody);
}

#define PEOPLE(version)                                                                                               \
    {                                                                                                                 \
        version, create, name, provider, input_type, input_count, output_type, output_count, compute, destroy, kind,  \
            kind, kind, {NULL}, create_or_fail, compute_or_fail, {NULL},                                              \
    }

void *RegisterCustomOps(void *options, const void *api_base)
{
    static const custom_op old_people = PEOPLE(OLD_VERSION), new_people = PEOPLE(NEW_VERSION);
    const ort_api_base *base = api_base;
    const ort_api api = base->GetApi(OLD_VERSION); /* asking for one that is too new writes to the terminal */
    const char *point = strchr(base->GetVersionString(), '.');
    const int is_new = point != NULL && atoi(point + 1) >= NEW_VERSION;
    void *domain = NULL, *status = NULL;
    if (api == NULL) return NULL; /* the session then does not know the operator, and says so */
    if (posert__the_model.stage_count != 1)
        return ORT(api, CreateStatus)(ORT_FAIL, "posert::People: the model has several stages");
    status = ORT(api, CreateCustomOpDomain)("posert", &domain);
    if (status == NULL) status = ORT(api, CustomOpDomain_Add)(domain, is_new ? &new_people : &old_people);
    if (status == NULL) status = ORT(api, AddCustomOpDomain)(options, domain);
    return status;
}
