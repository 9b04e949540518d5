/* The part of ONNX Runtime's C interface that posert calls. OrtApi is a table of functions that only ever grows at its
 * end, so a function's place never changes: no header of ONNX Runtime is needed to build, and any version from 1.11 on
 * will do to run. */
#ifndef POSERT_ORT_ABI_H
#define POSERT_ORT_ABI_H

#include "posert.h"

enum { ORT_API_WANTED = 11 };
enum { ORT_LOG_ERROR = 3, ORT_ARENA_ALLOCATOR = 1, ORT_MEMORY_DEFAULT = 0, ORT_FAIL = 1 };
enum { ORT_FLOAT = 1, ORT_UINT8 = 2, ORT_INT32 = 6, ORT_INT64 = 7, ORT_FLOAT16 = 10, ORT_DOUBLE = 11 };

/* The place of each function in the table, and its type. A status (`void *`) of NULL means success. */
#define ORT_FUNCTIONS(F)                                                                                              \
    F(0, void *, CreateStatus, int, const char *)                                                                     \
    F(2, const char *, GetErrorMessage, const void *)                                                                 \
    F(3, void *, CreateEnv, int, const char *, void **)                                                               \
    F(8, void *, CreateSessionFromArray, void *, const void *, size_t, void *, void **)                               \
    F(9, void *, Run, void *, const void *, const char *const *, const void *const *, size_t, const char *const *,    \
      size_t, void **)                                                                                                \
    F(10, void *, CreateSessionOptions, void **)                                                                      \
    F(24, void *, SetIntraOpNumThreads, void *, int)                                                                  \
    F(26, void *, CreateCustomOpDomain, const char *, void **)                                                        \
    F(27, void *, CustomOpDomain_Add, void *, const void *)                                                           \
    F(28, void *, AddCustomOpDomain, void *, void *)                                                                  \
    F(49, void *, CreateTensorWithDataAsOrtValue, const void *, const void *, size_t, const int64_t *, size_t, int,   \
      void **)                                                                                                        \
    F(51, void *, GetTensorMutableData, const void *, void **)                                                        \
    F(60, void *, GetTensorElementType, const void *, int *)                                                          \
    F(61, void *, GetDimensionsCount, const void *, size_t *)                                                         \
    F(62, void *, GetDimensions, const void *, int64_t *, size_t)                                                     \
    F(65, void *, GetTensorTypeAndShape, const void *, void **)                                                       \
    F(69, void *, CreateCpuMemoryInfo, int, int, void **)                                                             \
    F(90, void *, KernelContext_GetInput, void *, size_t, const void **)                                              \
    F(91, void *, KernelContext_GetOutput, void *, size_t, const int64_t *, size_t, void **)                          \
    F(92, void, ReleaseEnv, void *)                                                                                   \
    F(93, void, ReleaseStatus, void *)                                                                                \
    F(94, void, ReleaseMemoryInfo, void *)                                                                            \
    F(95, void, ReleaseSession, void *)                                                                               \
    F(96, void, ReleaseValue, void *)                                                                                 \
    F(99, void, ReleaseTensorTypeAndShapeInfo, void *)                                                                \
    F(100, void, ReleaseSessionOptions, void *)                                                                       \
    F(130, void *, AddSessionConfigEntry, void *, const char *, const char *)

#define ORT_DECLARE(place, result, name, ...) \
    enum { ORT_##name = place };              \
    typedef result ort_##name(__VA_ARGS__);
ORT_FUNCTIONS(ORT_DECLARE)

typedef void (*ort_function)(void);
typedef const ort_function *ort_api;

typedef struct ort_api_base {
    ort_api (*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} ort_api_base;

/* A function of the table: ORT(api, Run)(arguments). */
#define ORT(api, name) ((ort_##name *)(api)[ORT_##name])

/* ort.c: shape, data and type of a tensor; without data if it has more than five axes. Returns a status. */
void *posert__read_tensor(ort_api api, const void *value, posert_tensor *tensor, int *type);

#endif
