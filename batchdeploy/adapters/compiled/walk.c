/* Walks decision trees for a block of rows at once.
 *
 * Which way a row goes is computed rather than guessed: nothing branches on it, and the steps of the rows of a
 * block do not wait for each other. That is what makes it quicker than trees written as nested ifs, whose
 * every branch a processor mispredicts half of the time where the data are noisy.
 */
#include <stddef.h>
#include <stdint.h>

#define BLOCK 16

/* A row goes to `left + 1` where its feature exceeds the threshold, else to `left`. A leaf is its own `left`,
 * and its threshold is infinite. */
typedef struct {
  double threshold;
  int32_t left, feature;
} node;

/* What a comparison does not say: where NaN goes, and the sides of categories (`count` < 0: a number). */
typedef struct {
  int32_t first, count;
  uint8_t nan_right, other_right, unused[2];
} aside;

/* `output` is the column that the leaves add to; with -1 they have a value for each column. */
typedef struct {
  int32_t root, depth, output, categories;
} tree;

typedef struct {
  const node *nodes;
  const aside *asides;
  const uint8_t *sides;
  const double *values;
  const tree *trees;
  int32_t count, width, stride, outputs, single;
} forest;

static inline int right_of(const forest *f, int32_t at, double v) {
  const aside *a = f->asides + at;
  if (v != v) return a->nan_right;
  if (a->count < 0) return v > f->nodes[at].threshold;
  if (v < 0 || v >= a->count) return a->other_right;
  return f->sides[a->first + (int32_t)v];
}

static inline __attribute__((always_inline)) void descend(const forest *f, const tree *t, const double *rows,
                                                          int count, int careful, int32_t *at) {
  for (int r = 0; r < count; r++) at[r] = t->root;
  for (int level = t->depth; level > 0; level--) {
    int32_t moved = 0;
    for (int r = 0; r < count; r++) {
      const node *n = f->nodes + at[r];
      double v = rows[(size_t)r * f->width + n->feature];
      int32_t next = n->left + (careful ? right_of(f, at[r], v) : v > n->threshold);
      moved |= next ^ at[r];
      at[r] = next;
    }
    if (!moved) break;
  }
}

static inline __attribute__((always_inline)) void walk_block(const forest *f, const double *rows, int count,
                                                             double *out) {
  int32_t at[BLOCK];
  int nan = 0;
  for (size_t i = 0; i < (size_t)count * f->width; i++) nan |= rows[i] != rows[i];
  for (int32_t i = 0; i < f->count; i++) {
    const tree *t = f->trees + i;
    if (nan || t->categories)
      descend(f, t, rows, count, 1, at);
    else
      descend(f, t, rows, count, 0, at);
    int first = t->output < 0 ? 0 : t->output, last = t->output < 0 ? f->outputs : t->output + 1;
    for (int column = first; column < last; column++)
      for (int r = 0; r < count; r++) {
        double *sum = out + (size_t)r * f->outputs + column;
        *sum += f->values[(size_t)at[r] * f->stride + (t->output < 0 ? column : 0)];
        if (f->single) *sum = (float)*sum;
      }
  }
}

/* Adds the leaves of every tree to `out`, of shape (count, outputs); `rows` is of shape (count, width). */
void walk(const forest *f, const double *rows, size_t count, double *out) {
  size_t done = 0;
  for (; done + BLOCK <= count; done += BLOCK)
    walk_block(f, rows + done * f->width, BLOCK, out + done * f->outputs);
  if (done < count) walk_block(f, rows + done * f->width, (int)(count - done), out + done * f->outputs);
}
