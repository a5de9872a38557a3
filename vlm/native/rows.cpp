// What lies between the products of a layer, in bfloat16 with float32 inside: each reads and writes its numbers once,
// where operators of PyTorch read and write them several times.

#include <algorithm>
#include <cmath>

#include "floats.h"

namespace {

constexpr int64_t FEW = 1 << 16;  // numbers; starting threads would take longer than so many

inline __mmask16 first(int64_t count) { return count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1); }

inline __m512 widened(__m256i words) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
}

// x · sigmoid(x); the power's argument is never above 0, so nothing overflows.
inline __m512 silu(__m512 x) {
  const __m512 one = _mm512_set1_ps(1);
  const __m512 small = power_of_two(_mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(-1.44269504f)));
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  const __m512 share = _mm512_div_ps(_mm512_mask_mov_ps(one, negative, small), _mm512_add_ps(one, small));
  return _mm512_mul_ps(x, share);
}

inline __m512 rounded(__m512 value) {
  uint16_t words[16];
  store(words, 0, true, value);
  return load(words, 0, true);
}

}  // namespace

extern "C" {

// x and out (rows, K), weight (K); K a multiple of 16. The normed number is rounded before the weight comes, as
// in the reference.
void rms_norm(const uint16_t* x, const uint16_t* weight, uint16_t* out, int64_t rows, int64_t K, float eps,
              int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * K > FEW) schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const uint16_t* from = x + row * K;
    __m512 sum = _mm512_setzero_ps();
    for (int64_t k = 0; k < K; k += 16) {
      const __m512 values = load(from, k, true);
      sum = _mm512_fmadd_ps(values, values, sum);
    }
    const __m512 scale = _mm512_set1_ps(1 / std::sqrt(_mm512_reduce_add_ps(sum) / K + eps));
    for (int64_t k = 0; k < K; k += 16) {
      const __m512 normed = rounded(_mm512_mul_ps(load(from, k, true), scale));
      store(out + row * K, k, true, _mm512_mul_ps(normed, load(weight, k, true)));
    }
  }
}

// x (tokens, heads, size), a token `stride` numbers after the other; out the same without gaps; cos and sin
// (tokens, size) in float32, both halves equal.
void rotate(const uint16_t* x, int64_t stride, const float* cos, const float* sin, uint16_t* out, int64_t tokens,
            int64_t heads, int64_t size, int threads) {
  const int64_t half = size / 2;
#pragma omp parallel for num_threads(threads) if (threads > 1 && tokens * heads * size > FEW) schedule(static)
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t h = 0; h < heads; h++) {
      const uint16_t* from = x + t * stride + h * size;
      uint16_t* to = out + (t * heads + h) * size;
      for (int64_t i = 0; i < half; i += 16) {
        const __mmask16 some = first(half - i);
        const __m512 left = widened(_mm256_maskz_loadu_epi16(some, from + i));
        const __m512 right = widened(_mm256_maskz_loadu_epi16(some, from + half + i));
        const __m512 c = _mm512_maskz_loadu_ps(some, cos + t * size + i);
        const __m512 s = _mm512_maskz_loadu_ps(some, sin + t * size + i);
        uint16_t words[2][16];
        store(words[0], 0, true, _mm512_fnmadd_ps(right, s, _mm512_mul_ps(left, c)));
        store(words[1], 0, true, _mm512_fmadd_ps(left, s, _mm512_mul_ps(right, c)));
        const int64_t count = std::min<int64_t>(16, half - i);
        std::copy_n(words[0], count, to + i);
        std::copy_n(words[1], count, to + half + i);
      }
    }
}

// silu(gate) · up, `count` numbers each, a multiple of 16.
void silu_times(const uint16_t* gate, const uint16_t* up, uint16_t* out, int64_t count, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && count > FEW) schedule(static)
  for (int64_t i = 0; i < count; i += 16)
    store(out, i, true, _mm512_mul_ps(rounded(silu(load(gate, i, true))), load(up, i, true)));
}
}
