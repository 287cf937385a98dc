/* prepare: one binary PGM on stdin, 64 little-endian float32 on stdout.
 *
 * The image is averaged by area to 8 rows of 8 cells; each cell is rounded to
 * sixteenths of the full range (halves upwards). All sums are integers, so the
 * output is exact and the same everywhere. Rows are read as a stream: memory
 * use does not depend on the size of the image.
 *
 * A WASI preview 1 command. Bad input: a message on stderr, exit code 1, and
 * nothing on stdout. See build.sh.
 */
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { CELLS = 8, LARGEST_SIDE = 4096, LARGEST_MAXVAL = 65535 };

static int broken; /* stdin itself failed */

static int fail(const char *message)
{
    static const char name[] = "prepare: ";
    if (broken)
        message = "stdin cannot be read";
    (void)!write(2, name, sizeof name - 1);
    (void)!write(2, message, strlen(message));
    (void)!write(2, "\n", 1);
    return 1;
}

/* ---- input ---- */

enum { END = -1, BROKEN = -2 };

static unsigned char buffer[32768];
static size_t used, filled;

/* The next byte, END or BROKEN. */
static int next(void)
{
    if (used == filled) {
        ssize_t n = broken ? -1 : read(0, buffer, sizeof buffer);
        if (n < 0) {
            broken = 1;
            return BROKEN;
        }
        used = 0;
        filled = (size_t)n;
        if (n == 0)
            return END;
    }
    return buffer[used++];
}

/* The next byte of the header: a comment counts as the line end that closes it. */
static int next_of_header(void)
{
    int c = next();
    if (c == '#')
        do
            c = next();
        while (c >= 0 && c != '\n' && c != '\r');
    return c;
}

static int is_space(int c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* White space, then a decimal number, then one byte that ends it, which is
 * left in *after. Numbers too large for any field stop growing. */
static int number(int *after, uint32_t *value)
{
    int c = *after;
    if (!is_space(c))
        return 0;
    while (is_space(c))
        c = next_of_header();
    if (c < '0' || c > '9')
        return 0;
    uint32_t v = 0;
    for (; c >= '0' && c <= '9'; c = next_of_header())
        if (v <= LARGEST_MAXVAL)
            v = v * 10 + (uint32_t)(c - '0');
    *after = c;
    *value = v;
    return 1;
}

/* ---- averaging ----
 *
 * Along a side of n pixels, let a pixel be 8 units long; then the side has 8n
 * units and a cell n of them. share() says how many units of pixel p lie in
 * cell c. Over a cell the products of both sides' shares sum to width * height.
 */
static uint32_t share(uint32_t p, uint32_t c, uint32_t n)
{
    uint32_t from = p * CELLS > c * n ? p * CELLS : c * n;
    uint32_t to = (p + 1) * CELLS < (c + 1) * n ? (p + 1) * CELLS : (c + 1) * n;
    return to - from;
}

static uint32_t first_cell(uint32_t p, uint32_t n) { return p * CELLS / n; }
static uint32_t last_cell(uint32_t p, uint32_t n) { return (p * CELLS + CELLS - 1) / n; }

int main(void)
{
    if (next() != 'P' || next() != '5')
        return fail("not a binary PGM: it does not begin with P5");

    uint32_t width, height, maxval;
    int c = next_of_header();
    if (!number(&c, &width))
        return fail("the header has no width");
    if (!number(&c, &height))
        return fail("the header has no height");
    if (!number(&c, &maxval))
        return fail("the header has no maxval");
    if (!is_space(c))
        return fail("no white space between the header and the samples");
    if (width < 1 || width > LARGEST_SIDE)
        return fail("the width is not in 1..4096");
    if (height < 1 || height > LARGEST_SIDE)
        return fail("the height is not in 1..4096");
    if (maxval < 1 || maxval > LARGEST_MAXVAL)
        return fail("maxval is not in 1..65535");

    static uint64_t sum[CELLS][CELLS];
    for (uint32_t y = 0; y < height; y++) {
        uint64_t row[CELLS] = {0};
        for (uint32_t x = 0; x < width; x++) {
            int high = maxval > 255 ? next() : 0;
            int low = next();
            if (high < 0 || low < 0)
                return fail("the samples end before the image does");
            uint32_t v = (uint32_t)high << 8 | (uint32_t)low;
            if (v > maxval)
                return fail("a sample is larger than maxval");
            for (uint32_t i = first_cell(x, width); i <= last_cell(x, width); i++)
                row[i] += (uint64_t)v * share(x, i, width);
        }
        for (uint32_t j = first_cell(y, height); j <= last_cell(y, height); j++)
            for (uint32_t i = 0; i < CELLS; i++)
                sum[j][i] += row[i] * share(y, j, height);
    }
    if (next() != END)
        return fail("there is data after the image");

    /* A full cell sums to this much. Below 2^41, and 32 times that fits too. */
    uint64_t full = (uint64_t)width * height * maxval;
    static float out[CELLS * CELLS]; /* wasm memory is little-endian */
    for (uint32_t k = 0; k < CELLS * CELLS; k++)
        out[k] = (float)((32 * sum[k / CELLS][k % CELLS] + full) / (2 * full)) / 16.0f;

    const char *at = (const char *)out;
    for (size_t left = sizeof out; left > 0;) {
        ssize_t n = write(1, at, left);
        if (n <= 0)
            return fail("stdout cannot be written");
        at += n;
        left -= (size_t)n;
    }
    return 0;
}
