/* The tables that `posert bundle` fills from a model's metadata. Each decoder's parameters have the names and meanings
 * of its Python twin's `Params`. */
#ifndef POSERT_PARAMS_H
#define POSERT_PARAMS_H

#include <stddef.h>
#include <stdint.h>

enum posert__word {
    POSERT__NONE,
    POSERT__AREA,
    POSERT__CUBIC,
    POSERT__KEYS,
    POSERT__LINEAR,
    POSERT__LINEAR_OR_CUBIC,
    POSERT__FIRST_MATCH,
    POSERT__COMPLETE,
    POSERT__GLOBAL_SORT,
    POSERT__PAIRWISE,
    POSERT__INTERIOR,
    POSERT__RING,
    POSERT__MEAN,
    POSERT__SUM,
    POSERT__STRETCH,
    POSERT__CENTER,
    POSERT__LETTERBOX,
    POSERT__CORNER,
    POSERT__CORNER_PIXELS,
    POSERT__SQUARE,
    POSERT__BOXES,
    POSERT__FRAME,
    POSERT__FOLLOW,
    POSERT__HALF_PIXEL,
    POSERT__HALF_PIXEL_BLEND,
    POSERT__CORNERS,
    POSERT__ORIGIN,
    POSERT__ROUND,
    POSERT__TRUNCATE,
    POSERT__NCHW,
    POSERT__NHWC,
    POSERT__RGB,
    POSERT__BGR,
    POSERT__FLOAT32,
    POSERT__UINT8,
    POSERT__INT32
};

typedef struct posert__input {
    const char *name;
    int layout, dtype, color, size_wh[2], fit, multiple_of, align, interpolation, rounding;
    double pad_value[3], mean[3], std[3];
    int multiple_plus;
} posert__input;

typedef struct posert__paf_params {
    const int64_t (*paf_channels)[2];
    int paf_channels_count;
    double upsample;
    int interpolation, smooth_taps;
    const double *smooth_kernel;
    int smooth_kernel_count; /* = smooth_taps */
    double peak_threshold;
    int peak_radius, refine, max_peaks, limb_samples, limb_closed;
    double limb_threshold;
    int limb_least, assembly, strict_compat, seeding_limbs, min_parts;
    double min_score;
    int person_score;
    double offset_px;
} posert__paf_params;

typedef struct posert__direct_params {
    double min_score;
} posert__direct_params;

typedef struct posert__bodyparts_params {
    const int64_t (*paf_channels)[2];
    int paf_channels_count, interpolation, peak_rule;
    double peak_threshold;
    int max_peaks;
    double offset_px, limb_threshold, limb_ratio;
    int assembly;
    const int64_t *redundant_edges;
    int redundant_edges_count;
    const int64_t *foot_parts;
    int foot_parts_count, min_parts;
    double min_score;
    int maximize_positives; /* already applied to the values above */
} posert__bodyparts_params;

typedef struct posert__cifcaf_params {
    double cif_threshold;
    int cif_neighbors;
    double seed_threshold, caf_threshold, keypoint_threshold, keypoint_threshold_rel, nms_keypoint_threshold;
    double instance_threshold; /* never None here */
    int force_complete_pose;
    double force_complete_caf_threshold;
    int greedy, reverse_match;
} posert__cifcaf_params;

typedef struct posert__heatmap_params {
    int integral;
} posert__heatmap_params;

typedef struct posert__detect_params {
    double min_score, max_iou;
    int crowd;
    double crowd_max_iou;
    int classes, person;
} posert__detect_params;

typedef struct posert__suppress_poses_params {
    int whole_body;
    double delta1, mu, delta2, gamma, matches, alpha, min_score, min_area;
} posert__suppress_poses_params;

typedef struct posert__decoder posert__decoder;
typedef struct posert__suppression posert__suppression;

/* One network and the decoder of its outputs; `outputs` in the order of the decoder's roles. */
typedef struct posert__stage {
    int region;
    posert__input input;
    int single_row; /* the network takes one row at a time */
    int output_count;
    const char *const *roles;
    const char *const *outputs;
    const posert__decoder *decoder;
    const void *params;
    const posert__suppression *suppress;
    const void *suppress_params;
    const char *file;
    uint64_t file_bytes, file_hash; /* FNV-1a, 64 bits */
} posert__stage;

typedef struct posert__model {
    const char *name, *version;
    int keypoint_count, edge_count;
    const char *const *names;
    const int64_t (*edges)[2];
    int64_t torso[4]; /* left and right hip, left and right shoulder; -1 = the model has none */
    int stage_count;
    const posert__stage *stages;
} posert__model;

extern const posert__model posert__the_model;

#endif
