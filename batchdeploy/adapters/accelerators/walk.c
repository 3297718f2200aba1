/* Evaluates decision trees for a block of rows at once, by one of two algorithms. Neither branches on a row's
 * path, because on noisy data a processor mispredicts such a branch half of the time.
 *
 * Walking descends a tree level by level. The rows of a block are independent, so their steps overlap.
 *
 * Striking out keeps a bit set of the possible leaves per row and tree. It starts with all leaves; each split
 * whose threshold the row exceeds removes the leaves on its left. The first remaining leaf is the result. The
 * splits of many trees are sorted by feature and threshold, so that splits which no row of the block exceeds
 * are skipped. Lucchese et al., "QuickScorer: A Fast Algorithm to Rank Documents with Additive Ensembles of
 * Regression Trees", SIGIR 2015; for many rows at once, "Exploiting CPU SIMD Extensions to Speed-up Document
 * Scoring with Tree Ensembles", SIGIR 2016. It needs trees of at most 32 leaves, and a processor with AVX2.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BLOCK 16
#define ROWS 64
#define TREES 64

/* A row goes to `left + 1` if its feature exceeds the threshold, else to `left`. A leaf is its own `left`, with
 * an infinite threshold. */
typedef struct {
  double threshold;
  int32_t left, feature;
} node;

/* Splits beyond a comparison: the direction of NaN, and the sides of categories (`count` < 0: numeric split). */
typedef struct {
  int32_t first, count;
  uint8_t nan_right, other_right, unused[2];
} extra;

/* `output` is the column that the leaves add to, or -1 if they have a value per column. `leaf` is the index of
 * the tree's first leaf, for trees that are evaluated by striking out. */
typedef struct {
  int32_t root, depth, output, categories, leaf;
} tree;

/* A row whose feature exceeds the threshold cannot end in the leaves `left` of a tree of the group. If NaN goes
 * right, a row whose feature is NaN cannot end in the leaves `nan`. */
typedef struct {
  double threshold;
  int32_t tree;
  uint32_t left, nan;
  int32_t unused;
} split;

/* Consecutive trees; `bounds` is the index of the first bound of their splits, or -1 if they are walked. */
typedef struct {
  int32_t first, count, bounds;
} group;

typedef struct {
  const node *nodes;
  const extra *extras;
  const uint8_t *sides;
  const double *values;
  const tree *trees;
  const group *groups;
  const split *splits;
  const int32_t *bounds;
  const double *leaves;
  int32_t count, width, stride, outputs, single, grouped;
} forest;

static inline __attribute__((always_inline)) void add(const forest *f, const tree *t, const double *value,
                                                      double *out) {
  int first = t->output < 0 ? 0 : t->output, last = t->output < 0 ? f->outputs : t->output + 1;
  for (int column = first; column < last; column++) {
    out[column] += value[t->output < 0 ? column : 0];
    if (f->single) out[column] = (float)out[column];
  }
}

static inline int right_of(const forest *f, int32_t at, double v) {
  const extra *a = f->extras + at;
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

static int any_nan(const forest *f, const double *rows, int count) {
  int nan = 0;
  for (size_t i = 0; i < (size_t)count * f->width; i++) nan |= rows[i] != rows[i];
  return nan;
}

static inline __attribute__((always_inline)) void walk_block(const forest *f, const tree *t, const tree *end,
                                                             const double *rows, int count, int nan,
                                                             double *out) {
  int32_t at[BLOCK];
  for (; t < end; t++) {
    if (nan || t->categories)
      descend(f, t, rows, count, 1, at);
    else
      descend(f, t, rows, count, 0, at);
    for (int r = 0; r < count; r++)
      add(f, t, f->values + (size_t)at[r] * f->stride, out + (size_t)r * f->outputs);
  }
}

static void walk_all(const forest *f, const double *rows, size_t count, double *out) {
  const tree *end = f->trees + f->count;
  for (; count >= BLOCK; count -= BLOCK, rows += BLOCK * f->width, out += BLOCK * f->outputs)
    walk_block(f, f->trees, end, rows, BLOCK, any_nan(f, rows, BLOCK), out);
  if (count) walk_block(f, f->trees, end, rows, (int)count, any_nan(f, rows, (int)count), out);
}

#if defined(__x86_64__)
/* Position of row n in a vector of eight, into which two comparisons of four rows are packed. */
static const int PLACE[8] = {0, 1, 4, 5, 2, 3, 6, 7};

static inline __attribute__((always_inline, target("avx2,bmi"))) void strike(__m256i *left, const double *values,
                                                                            __m256d than, uint32_t leaves,
                                                                            int nan) {
  __m256i all = _mm256_set1_epi32((int32_t)leaves);
  for (int v = 0; v < ROWS / 8; v++) {
    __m256d low = _mm256_load_pd(values + 8 * v), high = _mm256_load_pd(values + 8 * v + 4);
    low = nan ? _mm256_cmp_pd(low, low, _CMP_UNORD_Q) : _mm256_cmp_pd(low, than, _CMP_GT_OQ);
    high = nan ? _mm256_cmp_pd(high, high, _CMP_UNORD_Q) : _mm256_cmp_pd(high, than, _CMP_GT_OQ);
    __m256 which = _mm256_shuffle_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high), 0x88);
    __m256i out = _mm256_and_si256(_mm256_castps_si256(which), all);
    left[v] = _mm256_andnot_si256(out, left[v]);
  }
}

static __attribute__((target("avx2,bmi"))) void strike_group(const forest *f, const group *g,
                                                            const double *rows, double *out) {
  uint32_t left[TREES][ROWS] __attribute__((aligned(32)));
  double values[ROWS] __attribute__((aligned(32)));
  memset(left, 0xff, sizeof(left[0]) * (size_t)g->count);
  for (int32_t feature = 0; feature < f->width; feature++) {
    const int32_t *bounds = f->bounds + g->bounds + feature;
    if (bounds[0] == bounds[1]) continue;
    const split *end = f->splits + bounds[1];
    double largest = -__builtin_inf();
    int nan = 0;
    for (int r = 0; r < ROWS; r++) {
      double v = values[r] = rows[(size_t)r * f->width + feature];
      largest = v > largest ? v : largest;
      nan |= v != v;
    }
    for (const split *s = f->splits + bounds[0]; s < end && s->threshold < largest; s++)
      strike((__m256i *)left[s->tree], values, _mm256_set1_pd(s->threshold), s->left, 0);
    if (nan)
      for (const split *s = f->splits + bounds[0]; s < end; s++)
        if (s->nan) strike((__m256i *)left[s->tree], values, _mm256_setzero_pd(), s->nan, 1);
  }
  for (int32_t i = 0; i < g->count; i++) {
    const tree *t = f->trees + g->first + i;
    const double *leaves = f->leaves + (size_t)t->leaf * f->stride;
    if (f->outputs == 1 && !f->single) {
      for (int r = 0; r < ROWS; r++) out[(r & ~7) + PLACE[r & 7]] += leaves[_tzcnt_u32(left[i][r])];
      continue;
    }
    for (int r = 0; r < ROWS; r++) {
      size_t row = (size_t)(r & ~7) + PLACE[r & 7];
      add(f, t, leaves + (size_t)_tzcnt_u32(left[i][r]) * f->stride, out + row * f->outputs);
    }
  }
}

static size_t strike_all(const forest *f, const double *rows, size_t count, double *out) {
  size_t done = 0;
  if (!f->grouped || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi")) return 0;
  for (; done + ROWS <= count; done += ROWS) {
    const double *from = rows + done * f->width;
    double *to = out + done * f->outputs;
    for (const group *g = f->groups; g < f->groups + f->grouped; g++) {
      if (g->bounds >= 0) {
        strike_group(f, g, from, to);
        continue;
      }
      const tree *t = f->trees + g->first;
      for (int r = 0; r < ROWS; r += BLOCK) {
        const double *block = from + (size_t)r * f->width;
        walk_block(f, t, t + g->count, block, BLOCK, any_nan(f, block, BLOCK), to + (size_t)r * f->outputs);
      }
    }
  }
  return done;
}
#else
static size_t strike_all(const forest *f, const double *rows, size_t count, double *out) { return 0; }
#endif

/* Adds the leaf values of every tree, in the trees' order, to `out`, of shape (count, outputs); `rows` is of
 * shape (count, width). */
void walk(const forest *f, const double *rows, size_t count, double *out) {
  size_t done = strike_all(f, rows, count, out);
  walk_all(f, rows + done * f->width, count - done, out + done * f->outputs);
}
