/* The part of ONNX Runtime's C interface that posert calls. OrtApi is a table of functions that only ever grows at its
 * end, so a function's place never changes: no header of ONNX Runtime is needed to build, and any version from 1.11 on
 * will do to run. */
#ifndef POSERT_ORT_ABI_H
#define POSERT_ORT_ABI_H

#include <stddef.h>
#include <stdint.h>

enum { ORT_API_WANTED = 11 };
enum { ORT_LOG_ERROR = 3, ORT_ARENA_ALLOCATOR = 1, ORT_MEMORY_DEFAULT = 0, ORT_FAIL = 1 };
enum { ORT_FLOAT = 1, ORT_UINT8 = 2, ORT_INT32 = 6, ORT_INT64 = 7 };

enum ort_place {
    ORT_CreateStatus = 0,
    ORT_GetErrorMessage = 2,
    ORT_CreateEnv = 3,
    ORT_CreateSessionFromArray = 8,
    ORT_Run = 9,
    ORT_CreateSessionOptions = 10,
    ORT_SetIntraOpNumThreads = 24,
    ORT_CreateCustomOpDomain = 26,
    ORT_CustomOpDomain_Add = 27,
    ORT_AddCustomOpDomain = 28,
    ORT_CreateTensorWithDataAsOrtValue = 49,
    ORT_GetTensorMutableData = 51,
    ORT_GetTensorElementType = 60,
    ORT_GetDimensionsCount = 61,
    ORT_GetDimensions = 62,
    ORT_GetTensorTypeAndShape = 65,
    ORT_CreateCpuMemoryInfo = 69,
    ORT_KernelContext_GetInput = 90,
    ORT_KernelContext_GetOutput = 91,
    ORT_ReleaseEnv = 92,
    ORT_ReleaseStatus = 93,
    ORT_ReleaseMemoryInfo = 94,
    ORT_ReleaseSession = 95,
    ORT_ReleaseValue = 96,
    ORT_ReleaseTensorTypeAndShapeInfo = 99,
    ORT_ReleaseSessionOptions = 100,
    ORT_AddSessionConfigEntry = 130
};

typedef void (*ort_function)(void);
typedef const ort_function *ort_api;

typedef struct ort_api_base {
    ort_api (*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} ort_api_base;

/* The function at a place, with its type: ORT(api, void *, Run, ...)(arguments). A status of NULL means success. */
#define ORT(api, result, name, ...) ((result(*)(__VA_ARGS__))(api)[ORT_##name])

#endif
