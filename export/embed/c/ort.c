/* ONNX Runtime, loaded when a handle is opened: its library, one session per stage, and the runs between posert_next()
 * and posert_give(). */
#define _POSIX_C_SOURCE 200809L
#include "internal.h"
#include "ort_abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef const ort_api_base *(*base_function)(void);

typedef struct posert__runtime {
    void *library;
    ort_api api;
    void *env, *memory_info, *sessions[1]; /* as many as the model has stages */
} posert__runtime;

#ifdef _WIN32
#include <windows.h>
static const char *const names[] = {"onnxruntime.dll"};
static void *open_library(const char *name) { return (void *)LoadLibraryA(name); }
static base_function find_base(void *library)
{
    return (base_function)(void (*)(void))GetProcAddress((HMODULE)library, "OrtGetApiBase");
}
#else
#include <dlfcn.h>
static const char *const names[] = {"libonnxruntime.so.1", "libonnxruntime.so", "libonnxruntime.dylib"};
static void *open_library(const char *name) { return dlopen(name, RTLD_NOW | RTLD_LOCAL); }
static base_function find_base(void *library)
{
    base_function base;
    void *symbol = dlsym(library, "OrtGetApiBase");
    memcpy(&base, &symbol, sizeof base); /* C99 has no cast from an object pointer to a function */
    return base;
}
#endif

/* POSERT_OK if `status` is none; else its text becomes the handle's and it is freed. */
static posert_status check(posert *p, void *status, posert_status kind, const char *what)
{
    const ort_api api = ((posert__runtime *)p->runtime)->api;
    if (status == NULL) return POSERT_OK;
    posert__fail(p, kind, "%.200s: %.700s", what, ORT(api, GetErrorMessage)(status));
    ORT(api, ReleaseStatus)(status);
    return kind;
}

static posert_status load_library(posert *p, posert__runtime *runtime, const char *path)
{
    if (path == NULL) path = getenv("POSERT_ORT");
    if (path != NULL) runtime->library = open_library(path);
    for (size_t i = 0; path == NULL && runtime->library == NULL && i < sizeof names / sizeof *names; i++)
        runtime->library = open_library(names[i]);
    if (runtime->library == NULL)
        return posert__fail(p, POSERT_NO_RUNTIME, "ONNX Runtime's library cannot be loaded: %s",
                            path ? path : "libonnxruntime.so.1; name it in POSERT_ORT");
    const base_function base = find_base(runtime->library);
    if (base == NULL) return posert__fail(p, POSERT_NO_RUNTIME, "%s is not ONNX Runtime", path ? path : names[0]);
    runtime->api = base()->GetApi(ORT_API_WANTED);
    if (runtime->api == NULL)
        return posert__fail(p, POSERT_NO_RUNTIME, "ONNX Runtime %s is older than 1.11", base()->GetVersionString());
    return POSERT_OK;
}

static uint64_t fnv1a(const unsigned char *bytes, size_t count)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

/* The bytes of the stage's model file, checked, to be freed; NULL = failed. */
static unsigned char *read_model(posert *p, const posert__stage *stage, const char *folder)
{
    char path[4096];
    const size_t bytes = (size_t)stage->file_bytes;
    FILE *file = NULL;
    if (snprintf(path, sizeof path, "%s/%s", folder ? folder : ".", stage->file) >= (int)sizeof path)
        posert__fail(p, POSERT_BAD_MODEL, "the folder's name is too long");
    else if ((file = fopen(path, "rb")) == NULL)
        posert__fail(p, POSERT_BAD_MODEL, "the model %s cannot be read", path);
    if (file == NULL) return NULL;
    unsigned char *data = malloc(bytes + 1); /* one more, to see whether the file goes on */
    const size_t got = data ? fread(data, 1, bytes + 1, file) : 0;
    fclose(file);
    if (data == NULL) posert__fail(p, POSERT_NO_MEMORY, "no memory for %s", path);
    else if (got == bytes && fnv1a(data, bytes) == stage->file_hash) return data;
    else posert__fail(p, POSERT_BAD_MODEL, "%s is not the file that this library was made for", path);
    free(data);
    return NULL;
}

static posert_status open_session(posert *p, posert__runtime *runtime, int index, void *settings, const char *folder)
{
    const posert__stage *stage = &posert__the_model.stages[index];
    unsigned char *data = read_model(p, stage, folder);
    if (data == NULL) return POSERT_BAD_MODEL;
    void *status = ORT(runtime->api, CreateSessionFromArray)(runtime->env, data, (size_t)stage->file_bytes, settings,
                                                             &runtime->sessions[index]);
    free(data);
    return check(p, status, POSERT_BAD_MODEL, stage->file);
}

posert_status posert__load(posert *p, const posert_options *options)
{
    void *settings = NULL;
    posert__runtime *runtime = calloc(1, sizeof *runtime + sizeof(void *) * (size_t)posert__the_model.stage_count);
    p->runtime = runtime;
    if (runtime == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the networks");
    posert_status result = load_library(p, runtime, options->onnxruntime);
    if (result != POSERT_OK) return result;
    const ort_api api = runtime->api;
    void *status = ORT(api, CreateEnv)(ORT_LOG_ERROR, "posert", &runtime->env);
    if (status == NULL)
        status = ORT(api, CreateCpuMemoryInfo)(ORT_ARENA_ALLOCATOR, ORT_MEMORY_DEFAULT, &runtime->memory_info);
    if (status == NULL) status = ORT(api, CreateSessionOptions)(&settings);
    /* Spinning threads take the cores from whatever runs beside them. */
    if (status == NULL) status = ORT(api, AddSessionConfigEntry)(settings, "session.intra_op.allow_spinning", "0");
    if (status == NULL && options->threads > 0) status = ORT(api, SetIntraOpNumThreads)(settings, options->threads);
    result = check(p, status, POSERT_NO_RUNTIME, "ONNX Runtime does not start");
    for (int i = 0; result == POSERT_OK && i < posert__the_model.stage_count; i++)
        result = open_session(p, runtime, i, settings, options->folder);
    if (settings != NULL) ORT(api, ReleaseSessionOptions)(settings);
    return result;
}

/* The library itself stays loaded: its threads may still be ending. */
void posert__unload(void *given)
{
    posert__runtime *runtime = given;
    if (runtime == NULL) return;
    for (int i = 0; i < posert__the_model.stage_count; i++)
        if (runtime->sessions[i] != NULL) ORT(runtime->api, ReleaseSession)(runtime->sessions[i]);
    if (runtime->memory_info != NULL) ORT(runtime->api, ReleaseMemoryInfo)(runtime->memory_info);
    if (runtime->env != NULL) ORT(runtime->api, ReleaseEnv)(runtime->env);
    free(runtime);
}

void *posert__read_tensor(ort_api api, const void *value, posert_tensor *tensor, int *type)
{
    void *info = NULL, *data = NULL;
    size_t axes = 0;
    memset(tensor, 0, sizeof *tensor);
    void *status = ORT(api, GetTensorTypeAndShape)(value, &info);
    if (status == NULL) status = ORT(api, GetTensorElementType)(info, type);
    if (status == NULL) status = ORT(api, GetDimensionsCount)(info, &axes);
    if (status == NULL && axes <= POSERT__AXES) status = ORT(api, GetDimensions)(info, tensor->dims, axes);
    if (info != NULL) ORT(api, ReleaseTensorTypeAndShapeInfo)(info);
    if (status == NULL && axes <= POSERT__AXES) status = ORT(api, GetTensorMutableData)(value, &data);
    tensor->axes = (int)axes;
    tensor->data = data;
    return status;
}

static void *make_tensor(posert__runtime *runtime, const void *data, posert_type type, const int64_t *dims, int axes,
                         void **value)
{
    static const int kinds[] = {ORT_FLOAT, ORT_UINT8, ORT_INT32, ORT_FLOAT16, ORT_INT64, ORT_DOUBLE};
    int64_t bytes = posert__size(type);
    for (int axis = 0; axis < axes; axis++) bytes *= dims[axis];
    return ORT(runtime->api, CreateTensorWithDataAsOrtValue)(runtime->memory_info, data, (size_t)bytes, dims,
                                                             (size_t)axes, kinds[type], value);
}

/* Runs the network on the picture and its constants. */
static void *run_network(posert__runtime *runtime, const posert_feed *feed, void **values)
{
    void *failed = NULL, *inputs[1 + POSERT__CONSTANTS] = {NULL};
    const char *names[1 + POSERT__CONSTANTS] = {feed->input};
    const int count = 1 + feed->constant_count;
    failed = make_tensor(runtime, feed->data, feed->type, feed->dims, 4, &inputs[0]);
    for (int i = 1; failed == NULL && i < count; i++) {
        const posert_constant *constant = &feed->constants[i - 1];
        names[i] = constant->name;
        failed = make_tensor(runtime, constant->data, constant->type, constant->dims, constant->axes, &inputs[i]);
    }
    if (failed == NULL)
        failed = ORT(runtime->api, Run)(runtime->sessions[feed->stage], NULL, names, (const void *const *)inputs,
                                        (size_t)count, feed->outputs, (size_t)feed->output_count, values);
    for (int i = 0; i < count; i++)
        if (inputs[i] != NULL) ORT(runtime->api, ReleaseValue)(inputs[i]);
    return failed;
}

static float float_of(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, part = half & 0x3ffu;
    uint32_t bits = sign | (exponent == 31u ? 0x7f800000u : (exponent + 112u) << 23) | part << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    if (exponent > 0) return value;
    value = (float)part / 16777216.0f; /* 2^24 */
    return sign ? -value : value;
}

/* The output's data as floats: labels are whole numbers, a small network's outputs half as long. */
static posert_status widen(posert *p, posert__buffer *buffer, int type, posert_tensor *output)
{
    const void *data = output->data;
    int64_t count = 1;
    for (int axis = 0; axis < output->axes; axis++) count *= output->dims[axis];
    float *floats = posert__at_least(buffer, count * (int64_t)sizeof *floats);
    if (floats == NULL) return posert__fail(p, POSERT_NO_MEMORY, "no memory for the network's outputs");
    for (int64_t i = 0; i < count; i++)
        floats[i] = type == ORT_FLOAT16 ? float_of(((const uint16_t *)data)[i])
                    : type == ORT_INT64 ? (float)((const int64_t *)data)[i]
                                        : (float)((const int32_t *)data)[i];
    output->data = floats;
    return POSERT_OK;
}

/* Runs the network and gives its outputs to the turn. */
static posert_status run(posert *p, const posert_feed *feed)
{
    posert__runtime *runtime = p->runtime;
    void *values[POSERT__ROLES] = {NULL};
    posert_tensor outputs[POSERT__ROLES];
    posert_status status = check(p, run_network(runtime, feed, values), POSERT_FAILED, "the network failed");
    for (int i = 0; status == POSERT_OK && i < feed->output_count; i++) {
        int type = 0;
        void *failed = posert__read_tensor(runtime->api, values[i], &outputs[i], &type);
        status = check(p, failed, POSERT_FAILED, feed->outputs[i]);
        const int known = type == ORT_FLOAT || type == ORT_FLOAT16 || type == ORT_INT64 || type == ORT_INT32;
        if (status == POSERT_OK && (!known || outputs[i].axes > POSERT__AXES))
            status = posert__fail(p, POSERT_FAILED, "the output %s is no float tensor of 1 to 5 axes", feed->outputs[i]);
        if (status == POSERT_OK && type != ORT_FLOAT) status = widen(p, &p->widened[i], type, &outputs[i]);
    }
    if (status == POSERT_OK) status = posert_give(p, outputs, feed->output_count);
    for (int i = 0; i < POSERT__ROLES; i++)
        if (values[i] != NULL) ORT(runtime->api, ReleaseValue)(values[i]);
    return status;
}

posert_status posert_estimate(posert *p, const posert_image *image, posert_people *people)
{
    posert_feed feed = {0};
    if (p == NULL || !p->opened) return POSERT_BAD_ARGUMENT; /* the text still says why it did not open */
    if (people != NULL) memset(people, 0, sizeof *people);
    posert_status status = POSERT_OK;
    if (people == NULL) status = posert__fail(p, POSERT_BAD_ARGUMENT, "no place for the people");
    else if (p->runtime == NULL) status = posert__fail(p, POSERT_BAD_ARGUMENT, "opened with no_runtime: use posert_begin()");
    if (status == POSERT_OK) status = posert_begin(p, image);
    while (status == POSERT_OK && (status = posert_next(p, &feed, people)) == POSERT_OK && feed.data != NULL)
        status = run(p, &feed);
    if (status != POSERT_OK) posert_reset(p);
    return status;
}
