/* Picture and windows to the network's input tensor: the twin of runtime/prepare.py. A window is the rectangle of the
 * frame, in its pixels, that fills the input; it may reach beyond the frame. */
#include "constants.h"
#include "handle.h"
#include "kernels.h"

#include <math.h>

static int at_least_one(double value) { return value > 1.0 ? (int)value : 1; }

static int multiple(int side, const posert__input *input)
{
    const int step = input->multiple_of > 1 ? input->multiple_of : 1, over = side - input->multiple_plus;
    return (over > 0 ? (over + step - 1) / step : 0) * step + input->multiple_plus;
}

/* Frame px per input px that fit the frame into the sides of the input that are not free. */
static double ratio(const posert__input *input, const int frame[2])
{
    double most = 0.0;
    for (int axis = 0; axis < 2; axis++)
        if (input->size_wh[axis] && (double)frame[axis] / input->size_wh[axis] > most)
            most = (double)frame[axis] / input->size_wh[axis];
    return most > 0.0 ? most : 1.0;
}

static void scaled(const posert__input *input, const int frame[2], int content[2])
{
    for (int axis = 0; axis < 2; axis++) content[axis] = at_least_one(rint(frame[axis] / ratio(input, frame)));
}

static void fit_input(const posert__input *input, const int content[2], int input_wh[2])
{
    for (int axis = 0; axis < 2; axis++) {
        if (input->multiple_of) input_wh[axis] = multiple(content[axis], input);
        else input_wh[axis] = input->size_wh[axis] ? input->size_wh[axis] : content[axis];
    }
}

static void stretch(const posert__input *input, const int frame[2], double window[4], int input_wh[2])
{
    int content[2];
    scaled(input, frame, content);
    for (int axis = 0; axis < 2; axis++) {
        input_wh[axis] = input->size_wh[axis] ? input->size_wh[axis] : multiple(content[axis], input);
        window[axis] = 0.0;
        window[2 + axis] = frame[axis];
    }
}

static void corner(const posert__input *input, const int frame[2], double window[4], int input_wh[2])
{
    int content[2];
    scaled(input, frame, content);
    fit_input(input, content, input_wh);
    for (int axis = 0; axis < 2; axis++) {
        window[axis] = 0.0;
        window[2 + axis] = (double)input_wh[axis] * frame[axis] / content[axis];
    }
}

/* TensorFlow's resize_with_pad: content rounded down, the padding too, but from the content's exact size. */
static void center(const posert__input *input, const int frame[2], double window[4], int input_wh[2])
{
    const double shrink = ratio(input, frame);
    int content[2];
    for (int axis = 0; axis < 2; axis++) content[axis] = at_least_one(floor(frame[axis] / shrink));
    fit_input(input, content, input_wh);
    for (int axis = 0; axis < 2; axis++) {
        const double filled = input->multiple_of ? content[axis] : frame[axis] / shrink;
        const double free = (input_wh[axis] - filled) / 2, pad = floor(free > 0.0 ? free : 0.0);
        const double step = (double)frame[axis] / content[axis];
        window[axis] = -pad * step;
        window[2 + axis] = (input_wh[axis] - pad) * step;
    }
}

static int floor_half(int value) { return value < 0 ? -((1 - value) / 2) : value / 2; }

/* AlphaPose's YOLOv3: content rounded down, then centred, an odd pixel of padding right and below. */
static void letterbox(const posert__input *input, const int frame[2], double window[4], int input_wh[2])
{
    double factor = INFINITY;
    int content[2];
    for (int axis = 0; axis < 2; axis++)
        if (input->size_wh[axis] && (double)input->size_wh[axis] / frame[axis] < factor)
            factor = (double)input->size_wh[axis] / frame[axis];
    if (isinf(factor)) factor = 1.0;
    for (int axis = 0; axis < 2; axis++) content[axis] = at_least_one(floor(frame[axis] * factor));
    fit_input(input, content, input_wh);
    for (int axis = 0; axis < 2; axis++) {
        const double step = (double)frame[axis] / content[axis];
        window[axis] = -floor_half(input_wh[axis] - content[axis]) * step;
        window[2 + axis] = window[axis] + input_wh[axis] * step;
    }
}

/* The padded square around the frame's centre. */
static void square(const posert__input *input, const int frame[2], double window[4], int input_wh[2])
{
    const int side = frame[0] > frame[1] ? frame[0] : frame[1];
    for (int axis = 0; axis < 2; axis++) {
        window[axis] = frame[axis] / 2.0 - side / 2.0;
        window[2 + axis] = window[axis] + side;
        input_wh[axis] = input->size_wh[axis];
    }
}

static int nearest(double side, int unit)
{
    const int count = (int)floor(side / unit + 0.5);
    return (count > 1 ? count : 1) * unit;
}

/* CMU OpenPose's: the frame's corner pixels lie on the input's; a free width is at most 16:9. */
static void corner_pixels(const posert__input *input, const int frame[2], double window[4], int input_wh[2])
{
    const int width = frame[0], height = frame[1], wide = input->size_wh[0], high = input->size_wh[1];
    const int unit = input->multiple_of > 1 ? input->multiple_of : 1;
    input_wh[0] = wide;
    input_wh[1] = high;
    if (!(wide && high)) {
        const double limit = (double)high * 16 / 9, own = (double)high * width / height;
        if (!wide) input_wh[0] = nearest(own < limit ? own : limit, unit);
        if (!high) input_wh[1] = nearest((double)wide * height / width, unit);
    } else if (input->multiple_of) {
        const double x = (double)wide / width, y = (double)high / height, factor = y < x ? y : x;
        input_wh[0] = nearest(width * factor, unit);
        input_wh[1] = nearest(height * factor, unit);
    }
    const double x = (double)(width - 1) / (input_wh[0] > 2 ? input_wh[0] - 1 : 1);
    const double y = (double)(height - 1) / (input_wh[1] > 2 ? input_wh[1] - 1 : 1);
    double step = y > x ? y : x;
    if (step == 0.0) step = 1.0;
    window[0] = window[1] = 0.5 - 0.5 * step;
    window[2] = window[0] + input_wh[0] * step;
    window[3] = window[1] + input_wh[1] * step;
}

/* The window of the whole frame, and the input's size. */
void posert__place(const posert__input *input, int width, int height, double window[4], int input_wh[2])
{
    const int frame[2] = {width, height};
    switch (input->fit) {
    case POSERT__CORNER: corner(input, frame, window, input_wh); break;
    case POSERT__CENTER: center(input, frame, window, input_wh); break;
    case POSERT__LETTERBOX: letterbox(input, frame, window, input_wh); break;
    case POSERT__SQUARE: square(input, frame, window, input_wh); break;
    case POSERT__CORNER_PIXELS: corner_pixels(input, frame, window, input_wh); break;
    default: stretch(input, frame, window, input_wh);
    }
}

/* The window around a box: AlphaPose's margin, the input's aspect. */
void posert__place_box(const posert__input *input, const float box[4], double window[4])
{
    const double aspect[2] = {1.0, (double)input->size_wh[1] / input->size_wh[0]};
    const double w = (double)box[2] - box[0], h = ((double)box[3] - box[1]) * input->size_wh[0] / input->size_wh[1];
    const double width = (w > h || w != w ? w : h) * (input->fit == POSERT__SQUARE ? POSERT__SQUARE_MARGIN : POSERT__BOX_MARGIN);
    for (int axis = 0; axis < 2; axis++) {
        const double middle = ((double)box[axis] + (double)box[2 + axis]) / 2, half = width * aspect[axis] / 2;
        window[axis] = middle - half;
        window[2 + axis] = middle + half;
    }
}

/* Taps of one axis: the weights of linear ones are a vector, of the others a matrix. */
typedef struct axis_taps {
    posert__i32 index;
    posert__f32 weight;
    posert__u8 inside;
} axis_taps;

static void linear(posert__arena *arena, const posert__input *input, double low, double high, int length, int size,
                   axis_taps *taps)
{
    const int align = input->align == POSERT__HALF_PIXEL ? 0 : input->align == POSERT__CORNERS ? 1 : 2;
    NEW2(arena, taps->index, 2, size);
    NEW1(arena, taps->weight, size);
    NEW1(arena, taps->inside, size);
    if (arena->failed) return;
    if (input->align == POSERT__HALF_PIXEL_BLEND) { /* the places of half_pixel, from the first pixel's centre */
        const double shift = 0.5 * (high - low) / size - 0.5;
        low += shift;
        high += shift;
    }
    posert_k_linear_taps(low, high, length, align, V2(taps->index), V1(taps->weight), V1(taps->inside));
}

static void weighted(posert__arena *arena, const posert__input *input, double low, double high, int length, int size,
                     axis_taps *taps)
{
    const int cubic = input->interpolation != POSERT__AREA;
    const double step = (high - low) / size, most = step < length - 1.0 ? step : length - 1.0;
    const int64_t count = cubic ? 4 : (int64_t)ceil(most > 0.0 ? most : 0.0) + 1;
    NEW2(arena, taps->index, size, count);
    NEW2(arena, taps->weight, size, count);
    NEW1(arena, taps->inside, size);
    if (arena->failed) return;
    posert_k_weighted_taps(low, high, length, cubic, V2(taps->index), V2(taps->weight), V1(taps->inside));
}

static void tone_of(const posert__input *input, int rgb, float tone[15])
{
    const double limits[3][3] = {{-INFINITY, INFINITY, 0}, {0, 255, 0}, {-2147483648.0, 2147483648.0 - 128, 0}};
    const int kind = input->dtype == POSERT__FLOAT32 ? 0 : input->dtype == POSERT__UINT8 ? 1 : 2;
    const int same = (input->color == POSERT__RGB) == rgb;
    for (int c = 0; c < 3; c++) {
        tone[c] = (float)input->pad_value[c];
        tone[3 + c] = (float)input->mean[c];
        tone[6 + c] = (float)(1 / input->std[c]);
        tone[9 + c] = (float)(same ? c : 2 - c);
        tone[12 + c] = (float)limits[kind][c];
    }
}

static int is_linear(int interpolation, int enlarges)
{
    return interpolation == POSERT__LINEAR ||
           interpolation == (enlarges ? POSERT__AREA : POSERT__LINEAR_OR_CUBIC);
}

posert_status posert__sample(posert *p, const posert__pixels *image, const double window[4],
                             const posert__input *input, const int input_wh[2], void *row)
{
    posert__arena *arena = &p->sampling.arena;
    const int width = input_wh[0], height = input_wh[1], rounding = input->rounding == POSERT__NONE    ? 0
                                                                    : input->rounding == POSERT__ROUND ? 1
                                                                                                       : 2;
    const int64_t size = (int64_t)3 * width * height, planes[3] = {(int64_t)height * width, width, 1};
    const int64_t pixels[3] = {1, (int64_t)3 * width, 3};
    const posert__i64 strides = {(int64_t *)(input->layout == POSERT__NHWC ? pixels : planes), {3}};
    const posert__f32 floats = {row, {input->dtype == POSERT__FLOAT32 ? size : 0}};
    const posert__u8 bytes = {row, {input->dtype == POSERT__UINT8 ? size : 0}};
    const posert__i32 ints = {row, {input->dtype == POSERT__INT32 ? size : 0}};
    const double step_x = (window[2] - window[0]) / width, step_y = (window[3] - window[1]) / height;
    float numbers[15];
    const posert__f32 tone = {numbers, {5, 3}};
    const int straight = is_linear(input->interpolation, (step_y > step_x ? step_y : step_x) <= 1);
    axis_taps x, y;
    posert__f32 lines, line = {0};
    posert__i32 words = {0};
    tone_of(input, image->rgb, numbers);
    (straight ? linear : weighted)(arena, input, window[0], window[2], image->width, width, &x);
    (straight ? linear : weighted)(arena, input, window[1], window[3], image->height, height, &y);
    NEW3(arena, lines, 3, 3, width);
    if (straight) NEW3(arena, words, 2, 2, width);
    else NEW1(arena, line, image->rows.n[1]);
    const int failed = arena->failed;
    if (!failed && straight)
        posert_k_sample_linear(V2(image->rows), V2(x.index), V1(x.weight), V1(x.inside), V2(y.index), V1(y.weight),
                               V1(y.inside), V2(tone), rounding, V1(floats), V1(bytes), V1(ints), V1(strides),
                               V3(words), V3(lines));
    else if (!failed)
        posert_k_sample_weighted(V2(image->rows), V2(x.index), V2(x.weight), V1(x.inside), V2(y.index), V2(y.weight),
                                 V1(y.inside), V2(tone), rounding, V1(floats), V1(bytes), V1(ints), V1(strides),
                                 V1(line), lines.at, 3, width);
    posert__free(arena);
    return failed ? posert__fail(p, POSERT_NO_MEMORY, "no memory to sample the picture") : POSERT_OK;
}
