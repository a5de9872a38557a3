// Sixteen numbers at a time, from and to memory in bfloat16 (half) or float32.

#pragma once

#include <immintrin.h>

#include <cstdint>

inline __m512 load(const void* from, int64_t at, bool half) {
  if (!half) return _mm512_loadu_ps(static_cast<const float*>(from) + at);
  const auto* words = reinterpret_cast<const __m256i*>(static_cast<const uint16_t*>(from) + at);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(words)), 16));
}

// Rounded to nearest, ties to even; a NaN stays one.
inline void store(void* to, int64_t at, bool half, __m512 value) {
  if (!half) return _mm512_storeu_ps(static_cast<float*>(to) + at, value);
  const __m512i bits = _mm512_castps_si512(value);
  const __m512i even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i words = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff))), 16);
  words = _mm512_mask_mov_epi32(words, _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc0));
  auto* out = reinterpret_cast<__m256i*>(static_cast<uint16_t*>(to) + at);
  _mm256_storeu_si256(out, _mm512_cvtepi32_epi16(words));
}

// Of 32 numbers in bfloat16 those at even places and those at odd places.
inline __m512 even(__m512i words) { return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16)); }
inline __m512 odd(__m512i words) {
  return _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}

// 2^x for x <= 0, within 2e-7 of itself: Taylor's series on the rest of at most a half.
inline __m512 power_of_two(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-126), x);  // in this order a NaN stays one
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 rest = _mm512_sub_ps(x, whole);
  __m512 sum = _mm512_set1_ps(1.5403530e-4f);
  for (const float term : {1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f})
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(term));
  return _mm512_scalef_ps(sum, whole);
}
