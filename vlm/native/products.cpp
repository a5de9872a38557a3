// Matrices in 4 bits times a few vectors in 8 bits, for CPUs with AVX512-VNNI and AVX512-VBMI.
//
// A matrix (N, K) lies in blocks of 16 outputs × G inputs, the blocks of 16 outputs one after the other, so that
// memory is read in its order. A block is 8·G bytes of codes and 16 scales. Byte b of 32-bit lane r of its 64-byte
// word i holds the codes of output r and inputs 8·i + b (low half) and 8·i + 4 + b (high half): what a lane of
// vpdpbusd multiplies at once. Scales are bfloat16: nf4 has one an output, int4 a scale and an offset.
//
//   nf4   G = 64   w = level[code] / 112 · scale          level = round(112 · the code table)
//   int4  G = 32   w = (code - 8) · scale + offset
//
// The vector is rounded to x ≈ step · q, q in -127 … 127, step = max|x| / 127 in each group of G. A product is
// then an integer sum a group, made float once a group: Σ q·u, where u = level + 128 or code has no sign, as
// vpdpbusd wants it; the sum starts at -128·Σq or -8·Σq.

#include <vector>

#include "floats.h"

namespace {

constexpr int OUTPUTS = 16;
constexpr int AHEAD = 2048;  // bytes: the processor itself prefetches too late, and not across pages

struct Nf4 {
  static constexpr int G = 64, SCALES = 32, SHIFT = 128;
  static constexpr float UNIT = 112;  // of 90 … 127 the one whose levels are least off, and in the mean not at all
  __m512i levels;  // of code c at every position c + 16·i: an index's other bits then do not matter
  explicit Nf4(const float* table) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(table), _mm512_set1_ps(UNIT));
    const __m512i whole = _mm512_add_epi32(_mm512_cvtps_epi32(scaled), _mm512_set1_epi32(SHIFT));
    levels = _mm512_broadcast_i32x4(_mm512_cvtepi32_epi8(whole));
  }
  __m512i low(__m512i bytes) const { return _mm512_permutexvar_epi8(bytes, levels); }
  __m512i high(__m512i bytes) const { return _mm512_permutexvar_epi8(_mm512_srli_epi16(bytes, 4), levels); }
};

struct Int4 {
  static constexpr int G = 32, SCALES = 64, SHIFT = 8;
  static constexpr float UNIT = 1;
  explicit Int4(const float*) {}
  __m512i low(__m512i bytes) const { return _mm512_and_si512(bytes, _mm512_set1_epi8(15)); }
  __m512i high(__m512i bytes) const { return low(_mm512_srli_epi16(bytes, 4)); }
};

template <class Kind>
constexpr int64_t BLOCK = 8 * Kind::G + Kind::SCALES;

// Scales of a block's 16 outputs, and offsets, which nf4 has not.
inline void scales(const uint8_t* at, const Nf4&, __m512& scale, __m512& offset) {
  const __m512i halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  scale = _mm512_castsi512_ps(_mm512_slli_epi32(halves, 16));
  offset = _mm512_setzero_ps();
}
inline void scales(const uint8_t* at, const Int4&, __m512& scale, __m512& offset) {
  const __m512i pairs = _mm512_loadu_si512(at);
  scale = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
  offset = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}

// Vectors in 8 bits: q (R, K), and for each group its step and what its integer sums start at.
struct Rounded {
  std::vector<int8_t> q;
  std::vector<float> step;
  std::vector<int32_t> start;
};

template <class Kind>
Rounded rounded(const void* x, int64_t values, bool half) {
  constexpr int PARTS = Kind::G / 16;
  const int64_t groups = values / Kind::G;
  Rounded out{std::vector<int8_t>(values), std::vector<float>(groups), std::vector<int32_t>(groups)};
  for (int64_t g = 0; g < groups; g++) {
    __m512 part[PARTS], most = _mm512_setzero_ps(), spoilt = _mm512_setzero_ps();
    for (int i = 0; i < PARTS; i++) {
      part[i] = load(x, g * Kind::G + 16 * i, half);
      most = _mm512_max_ps(most, _mm512_abs_ps(part[i]));
      spoilt = _mm512_fmadd_ps(part[i], _mm512_setzero_ps(), spoilt);  // 0, or NaN where x is not finite
    }
    const float peak = _mm512_reduce_max_ps(most);
    const __m512 inverse = _mm512_set1_ps(peak > 1e-30f ? 127 / peak : 0);
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < PARTS; i++) {
      const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(part[i], inverse));
      sum = _mm512_add_epi32(sum, whole);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(&out.q[g * Kind::G + 16 * i]), _mm512_cvtsepi32_epi8(whole));
    }
    out.step[g] = peak / 127 + _mm512_reduce_add_ps(spoilt);
    out.start[g] = -Kind::SHIFT * _mm512_reduce_add_epi32(sum);
  }
  return out;
}

// R vectors times T neighbouring runs of 16 outputs: T streams of memory at a time read faster than one.
template <class Kind, int R, int T>
void tiles(const Kind& kind, const uint8_t* at, const Rounded& x, int64_t row, int64_t K, void* out, int64_t N,
           int64_t n, bool half) {
  const int64_t groups = K / Kind::G;
  __m512 sums[R][T];
  for (auto& line : sums)
    for (auto& sum : line) sum = _mm512_setzero_ps();
  for (int64_t g = 0; g < groups; g++, at += BLOCK<Kind>) {
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
      const uint8_t* block = at + t * groups * BLOCK<Kind>;
      __m512i dots[R];
      for (int r = 0; r < R; r++) dots[r] = _mm512_set1_epi32(x.start[(row + r) * groups + g]);
#pragma GCC unroll 8
      for (int i = 0; i < Kind::G / 8; i++) {
        _mm_prefetch(reinterpret_cast<const char*>(block) + 64 * i + AHEAD, _MM_HINT_T0);
        const __m512i bytes = _mm512_loadu_si512(block + 64 * i);
        const __m512i low = kind.low(bytes), high = kind.high(bytes);
        for (int r = 0; r < R; r++) {
          const auto* q = reinterpret_cast<const int32_t*>(&x.q[(row + r) * K + g * Kind::G]) + 2 * i;
          dots[r] = _mm512_dpbusd_epi32(dots[r], low, _mm512_set1_epi32(q[0]));
          dots[r] = _mm512_dpbusd_epi32(dots[r], high, _mm512_set1_epi32(q[1]));
        }
      }
      _mm_prefetch(reinterpret_cast<const char*>(block) + 8 * Kind::G + AHEAD, _MM_HINT_T0);
      __m512 scale, offset;
      scales(block + 8 * Kind::G, kind, scale, offset);
      for (int r = 0; r < R; r++) {
        const float step = x.step[(row + r) * groups + g];
        const __m512 times = _mm512_mul_ps(scale, _mm512_set1_ps(step / Kind::UNIT));
        sums[r][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[r]), times, sums[r][t]);
        if (Kind::SHIFT == 8) {  // offset · Σx
          const __m512 whole = _mm512_set1_ps(step * x.start[(row + r) * groups + g] * (-1.0f / Kind::SHIFT));
          sums[r][t] = _mm512_fmadd_ps(offset, whole, sums[r][t]);
        }
      }
    }
  }
  for (int r = 0; r < R; r++)
    for (int t = 0; t < T; t++) store(out, (row + r) * N + n + OUTPUTS * t, half, sums[r][t]);
}

template <class Kind, int T>
void rows(const Kind& kind, const uint8_t* at, const Rounded& x, int64_t count, int64_t K, void* out, int64_t N,
          int64_t n, bool half) {
  int64_t row = 0;
  const auto step = [&](auto run, int size, int width) {
    for (; row + size <= count; row += size)
      for (int t = 0; t < T; t += width)
        run(kind, at + t * (K / Kind::G) * BLOCK<Kind>, x, row, K, out, N, n + OUTPUTS * t, half);
  };
  step(tiles<Kind, 8, 1>, 8, 1);
  step(tiles<Kind, 4, 1>, 4, 1);
  step(tiles<Kind, 2, T == 4 ? 2 : 1>, 2, T == 4 ? 2 : 1);
  step(tiles<Kind, 1, T>, 1, T);
}

template <class Kind>
void product(const uint8_t* blocks, const float* table, int64_t N, int64_t K, const void* x, int64_t count,
             void* out, bool half, int threads) {
  constexpr int T = 4;
  const Kind kind(table);
  const Rounded q = rounded<Kind>(x, count * K, half);
  const int64_t all = N / OUTPUTS, strips = (all + T - 1) / T, run = K / Kind::G * BLOCK<Kind>;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (int64_t s = 0; s < strips; s++) {
    int64_t tile = s * T;
    if (tile + T <= all) {
      rows<Kind, T>(kind, blocks + tile * run, q, count, K, out, N, OUTPUTS * tile, half);
      continue;
    }
    for (; tile < all; tile++) rows<Kind, 1>(kind, blocks + tile * run, q, count, K, out, N, OUTPUTS * tile, half);
  }
}

inline __m512 weights(const Nf4&, __m512 table, __m512i codes, float scale, float) {
  return _mm512_mul_ps(_mm512_permutexvar_ps(codes, table), _mm512_set1_ps(scale));
}
inline __m512 weights(const Int4&, __m512, __m512i codes, float scale, float offset) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(codes), _mm512_set1_ps(scale), _mm512_set1_ps(offset - 8 * scale));
}

template <class Kind>
void unpack(const uint8_t* blocks, const float* table, int64_t N, int64_t K, void* out, bool half, int threads) {
  const Kind kind(table);
  const __m512 levels = _mm512_loadu_ps(table);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (int64_t tile = 0; tile < N / OUTPUTS; tile++) {
    const uint8_t* block = blocks + tile * (K / Kind::G) * BLOCK<Kind>;
    for (int64_t g = 0; g < K / Kind::G; g++, block += BLOCK<Kind>) {
      alignas(64) uint32_t codes[Kind::G / 4][OUTPUTS];
      alignas(64) float scale[OUTPUTS], offset[OUTPUTS];
      for (int i = 0; i < Kind::G / 8; i++) {
        const __m512i bytes = _mm512_loadu_si512(block + 64 * i), mask = _mm512_set1_epi8(15);
        _mm512_store_si512(codes[2 * i], _mm512_and_si512(bytes, mask));
        _mm512_store_si512(codes[2 * i + 1], _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask));
      }
      __m512 scaled, shifted;
      scales(block + 8 * Kind::G, kind, scaled, shifted);
      _mm512_store_ps(scale, scaled);
      _mm512_store_ps(offset, shifted);
      for (int r = 0; r < OUTPUTS; r++)
        for (int i = 0; i < Kind::G / 16; i++) {
          const __m128i four = _mm_setr_epi32(codes[4 * i][r], codes[4 * i + 1][r], codes[4 * i + 2][r], codes[4 * i + 3][r]);
          const __m512 values = weights(kind, levels, _mm512_cvtepu8_epi32(four), scale[r], offset[r]);
          store(out, (tile * OUTPUTS + r) * K + g * Kind::G + 16 * i, half, values);
        }
    }
  }
}

}  // namespace

extern "C" {

// x (count, K) and out (count, N), both bfloat16 (half) or both float32; table: the 16 levels of nf4.
void four_product(int nf4, const uint8_t* blocks, const float* table, int64_t N, int64_t K, const void* x,
                  int64_t count, void* out, int half, int threads) {
  (nf4 ? product<Nf4> : product<Int4>)(blocks, table, N, K, x, count, out, half, threads);
}

// out (N, K), bfloat16 (half) or float32.
void four_unpack(int nf4, const uint8_t* blocks, const float* table, int64_t N, int64_t K, void* out, int half,
                 int threads) {
  (nf4 ? unpack<Nf4> : unpack<Int4>)(blocks, table, N, K, out, half, threads);
}
}
