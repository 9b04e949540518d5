/* posert: the people in a picture, from C or C++.
 *
 *     posert_options options = posert_default_options();
 *     posert *p;
 *     if (posert_open(&p, &options) != POSERT_OK) { puts(posert_error(p)); posert_close(p); return 1; }
 *     posert_image image = {pixels, width, height, 3 * width, POSERT_RGB};
 *     posert_people people;
 *     if (posert_estimate(p, &image, &people) != POSERT_OK) puts(posert_error(p));
 *     for (int n = 0; n < people.count; n++)                          x px, y px, score of keypoint k of person n:
 *         use(people.keypoints + 3 * (n * people.keypoint_count + k));
 *     posert_close(p);
 *
 * The library was made for one model by `posert bundle`; ONNX Runtime (1.11 or newer) is loaded when a handle is opened.
 * Not here, only in Python: averaging with the mirrored picture (--flip) or over several sizes (--scale-number), boxes of
 * one's own (--boxes), devices other than the CPU, tracking and smoothing. `posert bundle` refuses a model that needs them.
 * A handle serves one thread at a time; several handles may work in several threads. Nothing here prints or exits.
 */
#ifndef POSERT_H
#define POSERT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define POSERT_API __declspec(dllexport)
#elif defined(__GNUC__)
#define POSERT_API __attribute__((visibility("default")))
#else
#define POSERT_API
#endif

/** An open model, opaque. */
typedef struct posert posert;

/** What a call says; everything but POSERT_OK leaves a text in posert_error(). */
typedef enum posert_status {
    POSERT_OK = 0,
    POSERT_BAD_ARGUMENT = 1, /**< NULL, an image without pixels, a stride that is too small */
    POSERT_NO_MEMORY = 2,
    POSERT_NO_RUNTIME = 3, /**< ONNX Runtime was not found, or it is too old */
    POSERT_BAD_MODEL = 4,  /**< a model file is missing, or it is not the one the library was made for */
    POSERT_FAILED = 5      /**< the network failed, or it gave something unexpected */
} posert_status;

/** Order of the bytes of a pixel. */
typedef enum posert_format { POSERT_BGR = 0, POSERT_RGB = 1, POSERT_BGRA = 2, POSERT_RGBA = 3 } posert_format;

/** How a model is opened. Begin with posert_default_options(). The texts need to live only during posert_open(). */
typedef struct posert_options {
    size_t struct_size;      /**< sizeof(posert_options), so that later versions can add fields at the end */
    const char *folder;      /**< where the model files lie; NULL = the current folder */
    const char *onnxruntime; /**< its shared library; NULL = $POSERT_ORT, or else as the system finds it */
    int threads;             /**< of the network; 0 = as many as ONNX Runtime likes */
    int detect_every;        /**< the detector runs on every n-th picture of a video only, and the model looks around the
                                  last people in between; 0 or 1 = on each. Only for models that have a detector */
} posert_options;

/** A picture; the pixels stay the caller's and are only read. */
typedef struct posert_image {
    const uint8_t *pixels; /**< top left first */
    int width, height;     /**< px, 1 to 32767 */
    ptrdiff_t stride;      /**< bytes from one row to the next, at least width times 3 or 4 */
    posert_format format;
} posert_image;

/** The people of a picture, in its pixels. The arrays belong to the handle and are valid until its next call. */
typedef struct posert_people {
    int count;               /**< N */
    int keypoint_count;      /**< K */
    const float *keypoints;  /**< [N][K][3]: x px, y px, score; 0, 0, 0 = not found */
    const float *scores;     /**< [N], higher is better */
    const float *boxes_xyxy; /**< [N][4]: left, top, right, bottom px */
} posert_people;

/** Options with every field at its default. */
POSERT_API posert_options posert_default_options(void);

/** Opens the model. *out is a handle even on failure (then posert_error() says why), or NULL when memory is out.
 *  Close it in either case. */
POSERT_API posert_status posert_open(posert **out, const posert_options *options);

/** Finds the people of one picture. A model that follows one person looks near where the last picture had them. */
POSERT_API posert_status posert_estimate(posert *p, const posert_image *image, posert_people *people);

/** Forgets the last picture: call it where another video begins, or another camera's picture comes. */
POSERT_API void posert_reset(posert *p);

/** Frees the handle and all that belongs to it; NULL is allowed. */
POSERT_API void posert_close(posert *p);

/** What went wrong in the last call of this handle, "" if nothing did; valid until its next call. */
POSERT_API const char *posert_error(const posert *p);

/** Number of keypoints K, and the name of each ("left_hip"); NULL outside 0..K-1. */
POSERT_API int posert_keypoint_count(void);
POSERT_API const char *posert_keypoint_name(int keypoint);

/** Name of the model that the library was made for. */
POSERT_API const char *posert_model_name(void);

/** "0.1.0" */
POSERT_API const char *posert_version(void);

/** For ONNX Runtime, which calls it when a program registers this library with its own session (in C:
 *  RegisterCustomOpsLibrary). It brings the operator posert::People, which `posert fuse` writes into networks of one
 *  stage. A session keeps using the library. */
POSERT_API void *RegisterCustomOps(void *options, const void *api_base);

#ifdef __cplusplus
}
#endif
#endif
