// A matrix times one vector in bfloat16: eight rows at a time, eight streams of memory, each asked for early. Numbers
// are multiplied and added in float32 and rounded once.

#include <vector>

#include "floats.h"

namespace {

constexpr int ROWS = 8, AHEAD = 2048;  // bytes: the processor itself does not prefetch across pages

struct Vector {  // in float32, the numbers at even and at odd places apart
  std::vector<float> even, odd;
};

template <int R>
void rows(const uint16_t* matrix, int64_t K, const Vector& x, uint16_t* out) {
  __m512 sums[R][2];
  for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
  for (int64_t k = 0; k < K; k += 32) {
    const __m512 first = _mm512_loadu_ps(&x.even[k / 2]), second = _mm512_loadu_ps(&x.odd[k / 2]);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const uint16_t* at = matrix + r * K + k;
      _mm_prefetch(reinterpret_cast<const char*>(at) + AHEAD, _MM_HINT_T0);
      const __m512i words = _mm512_loadu_si512(at);
      sums[r][0] = _mm512_fmadd_ps(even(words), first, sums[r][0]);
      sums[r][1] = _mm512_fmadd_ps(odd(words), second, sums[r][1]);
    }
  }
  alignas(64) float whole[16] = {};
  for (int r = 0; r < R; r++) whole[r] = _mm512_reduce_add_ps(_mm512_add_ps(sums[r][0], sums[r][1]));
  uint16_t rounded[16];
  store(rounded, 0, true, _mm512_load_ps(whole));
  for (int r = 0; r < R; r++) out[r] = rounded[r];
}

}  // namespace

extern "C" {

// matrix (N, K), x (K) and out (N) in bfloat16; K a multiple of 32.
void matrix_vector(const uint16_t* matrix, int64_t N, int64_t K, const uint16_t* x, uint16_t* out, int threads) {
  Vector apart{std::vector<float>(K / 2), std::vector<float>(K / 2)};
  for (int64_t k = 0; k < K; k += 32) {
    const __m512i words = _mm512_loadu_si512(x + k);
    _mm512_storeu_ps(&apart.even[k / 2], even(words));
    _mm512_storeu_ps(&apart.odd[k / 2], odd(words));
  }
  const int64_t blocks = N / ROWS;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (int64_t b = 0; b < blocks; b++) rows<ROWS>(matrix + b * ROWS * K, K, apart, out + b * ROWS);
  for (int64_t n = blocks * ROWS; n < N; n++) rows<1>(matrix + n * K, K, apart, out + n);
}
}
