// One token's attention on earlier keys in bfloat16, head size 128: keys and values are read once, as fast as
// memory gives them, for all the query heads that share them. Softmax block by block as in FlashAttention
// (arXiv 2205.14135), all sums in float32.

#include <algorithm>
#include <limits>
#include <vector>

#include "floats.h"

namespace {

constexpr int SIZE = 128, PARTS = SIZE / 32, BLOCK = 128;  // a block's keys and values: 64 KB
constexpr int AHEAD = 4096;                                // bytes

inline __m512i words(const uint16_t* at, int part) {
  _mm_prefetch(reinterpret_cast<const char*>(at + 32 * part) + AHEAD, _MM_HINT_T0);
  return _mm512_loadu_si512(at + 32 * part);
}

struct Head {  // of queries; what it has seen so far
  __m512 query[2 * PARTS];
  __m512 sum[2 * PARTS];  // of values, at even and at odd places
  float most = -std::numeric_limits<float>::infinity(), weight = 0;
};

// R heads that share their keys on up to BLOCK of them.
template <int R>
void see(Head* heads, const uint16_t* keys, const uint16_t* values, int count) {
  alignas(64) float scores[R][BLOCK];
  for (int t = 0; t < count; t++) {
    __m512 sums[R];
    for (auto& sum : sums) sum = _mm512_setzero_ps();
    for (int i = 0; i < PARTS; i++) {
      const __m512i key = words(keys + t * SIZE, i);
      for (int r = 0; r < R; r++) {
        sums[r] = _mm512_fmadd_ps(even(key), heads[r].query[2 * i], sums[r]);
        sums[r] = _mm512_fmadd_ps(odd(key), heads[r].query[2 * i + 1], sums[r]);
      }
    }
    for (int r = 0; r < R; r++) scores[r][t] = _mm512_reduce_add_ps(sums[r]);
  }
  __m512 sums[R][2 * PARTS];
  for (int r = 0; r < R; r++) {
    Head& head = heads[r];
    std::fill(scores[r] + count, scores[r] + BLOCK, -std::numeric_limits<float>::infinity());
    float most = head.most;
    for (int t = 0; t < BLOCK; t += 16) most = std::max(most, _mm512_reduce_max_ps(_mm512_load_ps(scores[r] + t)));
    __m512 weight = _mm512_setzero_ps();
    for (int t = 0; t < BLOCK; t += 16) {
      const __m512 own = power_of_two(_mm512_sub_ps(_mm512_load_ps(scores[r] + t), _mm512_set1_ps(most)));
      _mm512_store_ps(scores[r] + t, own);
      if (t < count) {
        const int left = std::min(16, count - t);
        weight = _mm512_add_ps(weight, _mm512_maskz_mov_ps((1u << left) - 1, own));
      }
    }
    const __m512 shrunk = power_of_two(_mm512_set1_ps(head.most - most));
    head.weight = head.weight * _mm512_cvtss_f32(shrunk) + _mm512_reduce_add_ps(weight);
    head.most = most;
    for (int i = 0; i < 2 * PARTS; i++) sums[r][i] = _mm512_mul_ps(head.sum[i], shrunk);
  }
  for (int t = 0; t < count; t++)
    for (int i = 0; i < PARTS; i++) {
      const __m512i value = words(values + t * SIZE, i);
      for (int r = 0; r < R; r++) {
        const __m512 weight = _mm512_set1_ps(scores[r][t]);
        sums[r][2 * i] = _mm512_fmadd_ps(even(value), weight, sums[r][2 * i]);
        sums[r][2 * i + 1] = _mm512_fmadd_ps(odd(value), weight, sums[r][2 * i + 1]);
      }
    }
  for (int r = 0; r < R; r++)
    for (int i = 0; i < 2 * PARTS; i++) heads[r].sum[i] = sums[r][i];
}

void put(const Head& head, uint16_t* out) {
  const __m512 share = _mm512_set1_ps(1 / head.weight);
  for (int i = 0; i < PARTS; i++) {
    alignas(64) float apart[2][16];
    alignas(64) float joined[32];
    for (int odd = 0; odd < 2; odd++) _mm512_store_ps(apart[odd], _mm512_mul_ps(head.sum[2 * i + odd], share));
    for (int j = 0; j < 32; j++) joined[j] = apart[j % 2][j / 2];
    for (int j = 0; j < 32; j += 16) store(out, 32 * i + j, true, _mm512_load_ps(joined + j));
  }
}

}  // namespace

extern "C" {

// queries and out (heads, groups, 128); keys and values (heads, count, 128), each head `stride` numbers further.
void one_token_attention(const uint16_t* queries, const uint16_t* keys, const uint16_t* values, uint16_t* out,
                         int64_t heads, int64_t groups, int64_t count, int64_t key_stride, int64_t value_stride,
                         float scale, int threads) {
  const __m512 unit = _mm512_set1_ps(scale * 1.44269504f);  // powers of two stand for those of e
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (int64_t h = 0; h < heads; h++) {
    std::vector<Head> all(groups);
    for (int64_t g = 0; g < groups; g++)
      for (int i = 0; i < PARTS; i++) {
        const __m512i query = _mm512_loadu_si512(queries + (h * groups + g) * SIZE + 32 * i);
        all[g].query[2 * i] = _mm512_mul_ps(even(query), unit);
        all[g].query[2 * i + 1] = _mm512_mul_ps(odd(query), unit);
        all[g].sum[2 * i] = all[g].sum[2 * i + 1] = _mm512_setzero_ps();
      }
    for (int64_t t = 0; t < count; t += BLOCK) {
      const uint16_t *key = keys + h * key_stride + t * SIZE, *value = values + h * value_stride + t * SIZE;
      const int here = static_cast<int>(std::min<int64_t>(BLOCK, count - t));
      int64_t g = 0;
      for (; g + 2 <= groups; g += 2) see<2>(&all[g], key, value, here);
      if (g < groups) see<1>(&all[g], key, value, here);
    }
    for (int64_t g = 0; g < groups; g++) put(all[g], out + (h * groups + g) * SIZE);
  }
}
}
