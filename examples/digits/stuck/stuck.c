/* stuck: the same interface as prepare (one binary PGM in, 64 float32 out), by
 * a producer in more of a hurry: 8-bit samples, no comments, 512x512 at most,
 * and sums taken eight columns at a time.
 *
 * It has a bug on purpose, of the kind that tests on one image size miss; see
 * README.md. Do not use it for anything but showing a limit at work.
 */
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { CELLS = 8, LARGEST_SIDE = 512 };

static unsigned char input[LARGEST_SIDE * LARGEST_SIDE + 64];
static size_t length, at;

static int fail(const char *message)
{
    static const char name[] = "stuck: ";
    (void)!write(2, name, sizeof name - 1);
    (void)!write(2, message, strlen(message));
    (void)!write(2, "\n", 1);
    return 1;
}

static int is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next number of the header; 0 if there is none or it is too large. */
static uint32_t number(void)
{
    uint32_t v = 0;
    while (at < length && is_space(input[at]))
        at++;
    for (; at < length && input[at] >= '0' && input[at] <= '9'; at++)
        if ((v = v * 10 + (input[at] - '0')) > LARGEST_SIDE)
            return 0;
    return v;
}

/* Adds one row of samples to the eight column sums. */
static void add_row(uint32_t sums[CELLS], const unsigned char *row, uint32_t width)
{
    uint32_t per_cell = width / CELLS;
    uint32_t x = 0;
    while (x < width) {
        uint32_t groups = (width - x) / CELLS; /* whole groups of eight columns */
        for (uint32_t g = 0; g < groups; g++)
            for (uint32_t k = 0; k < CELLS; k++, x++)
                sums[x / per_cell] += row[x];
    }
}

int main(void)
{
    ssize_t n;
    while (length < sizeof input && (n = read(0, input + length, sizeof input - length)) > 0)
        length += (size_t)n;

    if (length < 2 || input[0] != 'P' || input[1] != '5')
        return fail("not a binary PGM");
    at = 2;
    uint32_t width = number(), height = number(), maxval = number();
    if (width < CELLS || height < CELLS || maxval < 1 || maxval > 255)
        return fail("the header is wrong, or this size or depth is not supported");
    if (at == length || !is_space(input[at]) || length - at - 1 != (size_t)width * height)
        return fail("the number of samples is wrong");
    const unsigned char *samples = input + at + 1;

    static float out[CELLS * CELLS];
    for (uint32_t j = 0; j < CELLS; j++) {
        uint32_t sums[CELLS] = {0};
        uint32_t from = j * height / CELLS, to = (j + 1) * height / CELLS;
        for (uint32_t y = from; y < to; y++)
            add_row(sums, samples + y * width, width);
        uint32_t full = (to - from) * (width / CELLS) * maxval;
        for (uint32_t i = 0; i < CELLS; i++)
            out[j * CELLS + i] = (float)((32 * sums[i] + full) / (2 * full)) / 16.0f;
    }
    return write(1, out, sizeof out) == sizeof out ? 0 : fail("stdout cannot be written");
}
