/* Steps over elements of a serialised message (CDR) that nobody reads. Its twin with names for what
 * is wrong is cdr/skipping.py; a program of words says what one element is made of. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { NUMBERS, STRING, NUMBER_ARRAY, ARRAY };
enum { ANY = -1 };

typedef struct {
  const uint8_t *data;
  int64_t size;
  int swapped;
} Payload;

static int64_t step(const Payload *from, int64_t at, int64_t count, const int64_t *program,
                    int64_t words);

/* Returns the length in front of an element; -1: it is not there. */
static int64_t length(const Payload *from, int64_t *at) {
  uint32_t value;
  *at = (*at + 3) & ~(int64_t)3;
  if (from->size - *at < 4) return -1;
  memcpy(&value, from->data + *at, sizeof value);
  if (from->swapped) value = __builtin_bswap32(value);
  *at += 4;
  return value;
}

static int64_t array_length(const Payload *from, int64_t *at, int64_t fixed, int64_t most,
                            int64_t smallest) {
  if (fixed != ANY) return fixed;
  int64_t count = length(from, at);
  return count > most || count * smallest > from->size - *at ? -1 : count;
}

/* Returns the offset behind one element; -1: it does not fit. */
static int64_t element(const Payload *from, int64_t at, const int64_t *program, int64_t words) {
  const int64_t *end = program + words;
  while (program < end) {
    int64_t count;
    switch (*program) {
      case NUMBERS: /* sizes by what is left of the offset modulo 8 */
        at += program[1 + (at & 7)];
        program += 9;
        break;
      case STRING: /* most */
        count = length(from, &at);
        if (count < 0 || count > program[1]) return -1;
        at += count;
        program += 2;
        break;
      case NUMBER_ARRAY: /* fixed or ANY, most, size */
        count = array_length(from, &at, program[1], program[2], program[3]);
        if (count < 0) return -1;
        if (count) at = ((at + program[3] - 1) & -program[3]) + count * program[3];
        program += 4;
        break;
      case ARRAY: /* fixed or ANY, most, smallest, words of an element, which follow */
        count = array_length(from, &at, program[1], program[2], program[3]);
        if (count < 0) return -1;
        at = step(from, at, count, program + 5, program[4]);
        if (at < 0) return -1;
        program += 5 + program[4];
        break;
      default:
        return -1;
    }
    if (at > from->size) return -1;
  }
  return at;
}

static int64_t step(const Payload *from, int64_t at, int64_t count, const int64_t *program,
                    int64_t words) {
  for (int64_t i = 0; i < count && at >= 0; ++i) at = element(from, at, program, words);
  return at;
}

/* Returns the offset behind `count` elements from `at` on; -1: they do not fit. */
int64_t ep_skip(const uint8_t *data, int64_t size, int64_t at, int64_t count,
                const int64_t *program, int64_t words, int swapped) {
  const Payload from = {data, size, swapped};
  return step(&from, at, count, program, words);
}
