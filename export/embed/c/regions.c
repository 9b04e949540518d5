/* Where a model looks that looks at boxes: those of its detector, or around the last picture's people. The twin of
 * runtime/regions.py. */
#include "constants.h"
#include "internal.h"

#include <math.h>
#include <string.h>

/* Boxes cut at the borders of the frame; those without an area hold nobody. */
void posert__keep_usable(posert__people *found, int width, int height)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < found->count; i++) {
        float box[4];
        for (int side = 0; side < 4; side++) {
            const float limit = (float)(side % 2 ? height : width), value = found->boxes[4 * i + side];
            box[side] = value < 0 ? 0 : value > limit ? limit : value;
        }
        if (!(box[2] > box[0] && box[3] > box[1])) continue; /* also what is not a number */
        memcpy(found->boxes + 4 * kept, box, sizeof box);
        found->scores[kept++] = found->scores[i];
    }
    found->count = kept;
}

/* The box of one person's sure keypoints with a margin; the others lose their score. Returns the region's score. */
static float region(float *keypoints, int64_t parts, float box[4])
{
    float best = 0, total = 0;
    for (int64_t k = 0; k < parts; k++) {
        total += keypoints[3 * k + 2];
        if (keypoints[3 * k + 2] > best) best = keypoints[3 * k + 2];
    }
    for (int64_t k = 0; k < parts; k++)
        if (!(keypoints[3 * k + 2] >= (float)POSERT__REGION_SURE * best)) keypoints[3 * k + 2] = 0;
    posert__box_keypoints(keypoints, parts, box);
    const float wide = box[2] - box[0], high = box[3] - box[1], longer = wide > high ? wide : high;
    const float margin = (float)POSERT__REGION_MARGIN * (longer > 0 ? longer : 0), mean = total / (float)parts;
    for (int side = 0; side < 4; side++) box[side] += side < 2 ? -margin : margin;
    return mean < 0 ? 0 : mean > 1 ? 1 : mean;
}

void posert__next_regions(posert__people *people, int width, int height)
{
    const int64_t parts = people->keypoint_count;
    for (int64_t i = 0; i < people->count; i++)
        people->scores[i] = region(people->keypoints + 3 * parts * i, parts, people->boxes + 4 * i);
    posert__keep_usable(people, width, height);
}
