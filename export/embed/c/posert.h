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
 * The library was made for one model by `posert bundle`; ONNX Runtime (1.11 or newer) is loaded when a handle is opened,
 * unless the program runs the network itself (posert_begin).
 * Not here, only in Python: averaging with the mirrored picture (--flip) or over several sizes (--scale-number), boxes of
 * one's own (--boxes), devices other than the CPU, tracking and smoothing. `posert bundle` refuses a model that needs them.
 * A library with networks for hands or faces (`posert bundle --hands`, --face, --parts) gives body and parts in one call: they are
 * keypoints of the person, by their names (posert_keypoint_name).
 * The parameters of its networks are those of the model's file, and what `posert bundle --set` says: their ranges, and
 * what they ask of each other, are checked there, so that nothing here has to.
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

/** The version of this header; posert_version() has the library's. */
#define POSERT_VERSION "@VERSION@"
#define POSERT_VERSION_MAJOR @MAJOR@
#define POSERT_VERSION_MINOR @MINOR@
#define POSERT_VERSION_PATCH @PATCH@

/** An open model, opaque. */
typedef struct posert posert;

/** What a call says; everything but POSERT_OK leaves a text in posert_error(). */
typedef enum posert_status {
    POSERT_OK = 0,
    POSERT_BAD_ARGUMENT = 1, /**< NULL, an image without pixels, a stride that is too small, a call out of turn */
    POSERT_NO_MEMORY = 2,
    POSERT_NO_RUNTIME = 3, /**< ONNX Runtime was not found, or it is too old */
    POSERT_BAD_MODEL = 4,  /**< a model file is missing, or it is not the one the library was made for */
    POSERT_FAILED = 5      /**< the network failed, or it gave something unexpected */
} posert_status;

/** Order of the bytes of a pixel. */
typedef enum posert_format { POSERT_BGR = 0, POSERT_RGB = 1, POSERT_BGRA = 2, POSERT_RGBA = 3 } posert_format;

/** The rule by which people are followed from one picture to the next; see docs/following.md of posert. */
typedef enum posert_follow_rule {
    POSERT_FOLLOW_STEADY = 0,  /**< noise and exchanged sides come to nothing, a cut begins anew */
    POSERT_FOLLOW_TUTORIAL = 1 /**< as TensorFlow Hub's MoveNet tutorial has it */
} posert_follow_rule;

/** How people are followed, by models that do: the parameters follow.NAME of posert's command line. All but the first
 *  are of the steady rule. posert_default_options() has what `posert bundle --set` was told. */
typedef struct posert_follow {
    posert_follow_rule rule;
    double share; /**< 0..1: how much of the way to where the tutorial would look the smooth window goes each time */
    double slack; /**< 0..1, of the window's side: the smooth window may be so far away before the one looked at moves */
    int patience; /**< at least 1: so many pictures a window stays although hips or shoulders are seen badly, and sides
                       that the network exchanges stay as they were */
    double cut;   /**< a picture that differs this many times more from the last one than that did from the one before
                       it begins anew, from the whole picture; 0 = none does */
} posert_follow;

/** How a model is opened. Begin with posert_default_options(). The texts need to live only during posert_open(). */
typedef struct posert_options {
    size_t struct_size;      /**< sizeof(posert_options), so that later versions can add fields at the end; more than
                                  this library knows is refused */
    const char *folder;      /**< where the model files lie; NULL = the current folder */
    const char *onnxruntime; /**< its shared library; NULL = $POSERT_ORT, or else as the system finds it */
    int threads;             /**< of the network; 0 = as many as ONNX Runtime likes */
    int detect_every;        /**< the detector runs on every n-th picture of a video only, and the model looks around the
                                  last people in between; 0 or 1 = on each. Only for models that have a detector, and
                                  do not turn their regions by keypoints that it finds */
    int no_runtime;          /**< 1 = no file is read and no ONNX Runtime loaded: the program runs the network itself */
    posert_follow follow;    /**< of a model that follows people */
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

/** Finds the people of one picture. A model that follows people looks near where the last picture had them; a call
 *  that fails, for whatever reason, forgets the last picture as posert_reset() does. */
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

/** "0.2.0" */
POSERT_API const char *posert_version(void);

/* posert_estimate() in steps, for a program that runs the network itself, wherever it likes:
 *
 *     posert_feed feed;
 *     posert_begin(p, &image);
 *     while (posert_next(p, &feed, &people) == POSERT_OK && feed.data != NULL) {
 *         ... run feed.file on feed.data, take the outputs called feed.outputs ...
 *         posert_give(p, outputs, feed.output_count);
 *     }
 *
 * Each of the three may fail; the picture is lost then, and the last one forgotten, as in posert_estimate(). */

/** Type of a tensor's elements. */
typedef enum posert_type {
    POSERT_FLOAT32 = 0,
    POSERT_UINT8 = 1,
    POSERT_INT32 = 2,
    POSERT_FLOAT16 = 3, /**< two bytes each, IEEE 754 */
    POSERT_INT64 = 4,
    POSERT_FLOAT64 = 5
} posert_type;

/** What a network takes besides the picture. */
typedef struct posert_constant {
    const char *name;
    posert_type type;
    int axes; /**< 0 to 5 */
    int64_t dims[5];
    const void *data;
} posert_constant;

/** What the network is to be run on. All of it belongs to the handle; the data are valid until posert_give(). */
typedef struct posert_feed {
    int stage;        /**< which of the model's networks, from 0 on */
    const char *file; /**< name of its file */
    const char *input; /**< name of its input */
    posert_type type;
    int64_t dims[4];
    const void *data; /**< NULL = the picture is done */
    int output_count;
    const char *const *outputs; /**< names of the outputs that posert_give() wants, in this order */
    int constant_count;
    const posert_constant *constants; /**< what the network takes besides, for most networks nothing */
} posert_feed;

/** A float tensor, the caller's, only read. A network may give float16; the caller makes floats of them. */
typedef struct posert_tensor {
    const float *data;
    int axes; /**< 1 to 5 */
    int64_t dims[5];
} posert_tensor;

/** Begins a picture, whose pixels must stay until it is done. */
POSERT_API posert_status posert_begin(posert *p, const posert_image *image);

/** What to run next; or, with feed->data == NULL, the people. */
POSERT_API posert_status posert_next(posert *p, posert_feed *feed, posert_people *people);

/** Takes what the network said to the last feed. */
POSERT_API posert_status posert_give(posert *p, const posert_tensor *outputs, int count);

/** For ONNX Runtime, which calls it when a program registers this library with its own session (in C:
 *  RegisterCustomOpsLibrary). It brings the operator posert::People, which `posert fuse` writes into networks of one
 *  stage. Outputs that do not fit the model make the session's run fail, in ONNX Runtime 1.16 and newer; an older one
 *  cannot be told, there the answer is one person of nothing but NaN. A session keeps using the library. */
POSERT_API void *RegisterCustomOps(void *options, const void *api_base);

#ifdef __cplusplus
}
#endif
#endif
