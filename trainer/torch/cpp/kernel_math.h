// Arithmetic for the loops that are compiled once for each instruction set. Included by these only: everything is static,
// and nothing is included that has inline functions, of which the linker would keep one copy for all.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace dfx {
namespace {

inline float load(const float* p) { return *p; }

inline void store(float* p, float v) { *p = v; }

struct Bits {
  uint16_t value;
};

inline float load(const Bits* p) { return __builtin_bit_cast(float, static_cast<uint32_t>(p->value) << 16); }

// Rounds to the nearest, ties to even, as libtorch does.
inline void store(Bits* p, float v) {
  const uint32_t u = __builtin_bit_cast(uint32_t, v);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  p->value = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

// To two units in the last place, between exp(-87) and exp(88): 2^n times a polynomial over +-ln(2)/2. Not for NaN.
inline float exponential(float x) {
  x = x < 88.0f ? x : 88.0f;
  x = x > -87.0f ? x : -87.0f;
  const float shifted = x * 1.44269504f + 12582912.0f; // 1.5 * 2^23: rounds to an integer in the low bits
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.0f);
  const uint32_t power = (__builtin_bit_cast(uint32_t, shifted) + 127u) << 23;
  return p * __builtin_bit_cast(float, power);
}

} // namespace
} // namespace dfx
