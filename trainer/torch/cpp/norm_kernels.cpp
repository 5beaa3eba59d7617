// The loops of the fused group norm (norm.cpp), over one sample's pixels of channels-last memory.
//
// build.rs compiles this file once for each instruction set, under a name of its own (DFX_ISA), and norm.cpp chooses when
// the program runs.
//
// The compiler vectorizes over channels, which lie side by side. Every sum has the same order whatever the vector's length
// and the number of threads: by pixel, in float32 over kFold pixels, then in float64.
#include "kernel_math.h"
#include "norm_kernels.h"

namespace dfx {
namespace DFX_ISA {
namespace {

constexpr size_t kFold = 64;
// Channels that are summed at a time; their sums stay in the first-level cache.
constexpr size_t kTile = 256;

// NaN stays NaN.
inline float sigmoid(float z) { return z == z ? 1.0f / (1.0f + exponential(-z)) : z; }

template <bool silu>
inline float activation(float z) {
  return silu ? z * sigmoid(z) : z;
}

// The derivative of the activation.
template <bool silu>
inline float slope(float z) {
  if (!silu) return 1.0f;
  const float s = sigmoid(z);
  return s + z * s * (1.0f - s);
}

template <typename T>
void moments(const void* x_, Span span, const float* origin, double* sum, double* square) {
  for (size_t begin = 0; begin < span.channels; begin += kTile) {
    const size_t n = span.channels - begin < kTile ? span.channels - begin : kTile;
    const T* x = static_cast<const T*>(x_) + begin;
    const float* o = origin + begin;
    for (size_t c = 0; c < n; ++c) sum[begin + c] = square[begin + c] = 0;
    for (size_t first = 0; first < span.pixels; first += kFold) {
      const size_t last = first + kFold < span.pixels ? first + kFold : span.pixels;
      float s[kTile] = {}, q[kTile] = {};
      for (size_t i = first; i < last; ++i) {
        const T* row = x + i * span.stride;
        for (size_t c = 0; c < n; ++c) {
          const float v = load(row + c) - o[c];
          s[c] += v;
          q[c] += v * v;
        }
      }
      for (size_t c = 0; c < n; ++c) {
        sum[begin + c] += s[c];
        square[begin + c] += q[c];
      }
    }
  }
}

template <typename T, bool silu>
void apply(const void* x_, void* y_, Span span, const Affine& f) {
  for (size_t i = 0; i < span.pixels; ++i) {
    const T* x = static_cast<const T*>(x_) + i * span.stride;
    T* __restrict y = static_cast<T*>(y_) + i * span.stride;
    for (size_t c = 0; c < span.channels; ++c) {
      store(y + c, activation<silu>(f.scale[c] * (load(x + c) - f.mean[c]) + f.shift[c]));
    }
  }
}

template <typename T, bool silu>
void sums(const void* x_, const void* dy_, Span span, const Affine& f, double* dz_sum, double* dzx_sum) {
  for (size_t begin = 0; begin < span.channels; begin += kTile) {
    const size_t n = span.channels - begin < kTile ? span.channels - begin : kTile;
    const T* x = static_cast<const T*>(x_) + begin;
    const T* dy = static_cast<const T*>(dy_) + begin;
    const float *mean = f.mean + begin, *scale = f.scale + begin, *shift = f.shift + begin;
    for (size_t c = 0; c < n; ++c) dz_sum[begin + c] = dzx_sum[begin + c] = 0;
    for (size_t first = 0; first < span.pixels; first += kFold) {
      const size_t last = first + kFold < span.pixels ? first + kFold : span.pixels;
      float s[kTile] = {}, q[kTile] = {};
      for (size_t i = first; i < last; ++i) {
        const T *xs = x + i * span.stride, *dys = dy + i * span.stride;
        for (size_t c = 0; c < n; ++c) {
          const float v = load(xs + c) - mean[c];
          const float dz = load(dys + c) * slope<silu>(scale[c] * v + shift[c]);
          s[c] += dz;
          q[c] += dz * v;
        }
      }
      for (size_t c = 0; c < n; ++c) {
        dz_sum[begin + c] += s[c];
        dzx_sum[begin + c] += q[c];
      }
    }
  }
}

template <typename T, bool silu>
void gradient(
    const void* x_, const void* dy_, void* dx_, Span span, const Affine& f, const float* offset, const float* factor) {
  for (size_t i = 0; i < span.pixels; ++i) {
    const T* x = static_cast<const T*>(x_) + i * span.stride;
    const T* dy = static_cast<const T*>(dy_) + i * span.stride;
    T* __restrict dx = static_cast<T*>(dx_) + i * span.stride;
    for (size_t c = 0; c < span.channels; ++c) {
      const float v = load(x + c) - f.mean[c];
      const float dz = load(dy + c) * slope<silu>(f.scale[c] * v + f.shift[c]);
      store(dx + c, f.scale[c] * dz + (factor[c] * v + offset[c]));
    }
  }
}

template <typename T>
constexpr NormKernels of() {
  return {moments<T>, {apply<T, false>, apply<T, true>}, {sums<T, false>, sums<T, true>},
          {gradient<T, false>, gradient<T, true>}};
}

} // namespace

extern const NormKernels kFloat;
extern const NormKernels kBFloat16;
const NormKernels kFloat = of<float>();
const NormKernels kBFloat16 = of<Bits>();

} // namespace DFX_ISA
} // namespace dfx
