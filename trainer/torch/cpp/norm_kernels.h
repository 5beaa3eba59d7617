// What norm_kernels.cpp offers. Plain declarations only, see there.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace dfx {

// Some channels of one sample: `pixels` rows of `channels` values each, `stride` values apart.
struct Span {
  size_t pixels, channels, stride;
};

// z = scale * (x - mean) + shift, by channel.
struct Affine {
  const float *mean, *scale, *shift;
};

// Pointers are float* or, for bfloat16, uint16_t*; arrays have one value a channel. Those in pairs: without and with SiLU.
struct NormKernels {
  // Sums of x - origin and of its square.
  void (*moments)(const void* x, Span, const float* origin, double* sum, double* square);
  // y = silu(z), or z.
  void (*apply[2])(const void* x, void* y, Span, const Affine&);
  // dz is the gradient of z. Sums of dz and of dz * (x - mean).
  void (*sums[2])(const void* x, const void* dy, Span, const Affine&, double* dz, double* dzx);
  // dx = scale * dz + factor * (x - mean) + offset.
  void (*gradient[2])(
      const void* x, const void* dy, void* dx, Span, const Affine&, const float* offset, const float* factor);
};

} // namespace dfx
