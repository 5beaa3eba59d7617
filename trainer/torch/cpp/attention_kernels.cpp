// The loops of the attention (attention.cpp) between its matrix products. Compiled once for each instruction set, see
// norm_kernels.cpp.
#include "attention_kernels.h"
#include "kernel_math.h"

namespace dfx {
namespace DFX_ISA {
namespace {

// Sums and maxima are taken over so many interleaved parts, which are then joined: the compiler may not reorder them.
constexpr size_t kLanes = 16;

template <typename T>
constexpr bool kPairs = sizeof(T) == 2;

// Where element (i, j) of a matrix of n columns lies in packed memory.
template <typename T>
inline size_t place(size_t i, size_t j, size_t n) {
  return kPairs<T> ? (i / 2 * n + j) * 2 + i % 2 : i * n + j;
}

template <typename T>
void softmax(const float* s, void* out_, size_t rows, size_t n, float scale, float* max, float* sum) {
  for (size_t i = 0; i < rows; ++i, s += n) {
    T* out = static_cast<T*>(out_) + i * n;
    float top[kLanes], total[kLanes] = {};
    for (size_t l = 0; l < kLanes; ++l) top[l] = s[0];
    size_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      for (size_t l = 0; l < kLanes; ++l) top[l] = s[j + l] > top[l] ? s[j + l] : top[l];
    }
    for (; j < n; ++j) top[0] = s[j] > top[0] ? s[j] : top[0];
    float most = top[0];
    for (size_t l = 1; l < kLanes; ++l) most = top[l] > most ? top[l] : most;
    most *= scale;
    for (j = 0; j + kLanes <= n; j += kLanes) {
      for (size_t l = 0; l < kLanes; ++l) {
        const float z = scale * s[j + l] - most, e = exponential(z);
        // z - z is 0, or NaN where z is no number: the exponential would lose it.
        total[l] += e + (z - z);
        store(out + j + l, e);
      }
    }
    for (; j < n; ++j) {
      const float z = scale * s[j] - most, e = exponential(z);
      total[0] += e + (z - z);
      store(out + j, e);
    }
    float all = 0;
    for (size_t l = 0; l < kLanes; ++l) all += total[l];
    max[i] = most;
    sum[i] = all;
  }
}

template <typename T>
void gradient(const float* s, const float* dp, size_t rows, size_t n, float scale, const float* lse,
              const float* delta, void* p_packed, void* ds_, void* ds_packed) {
  T *pp = static_cast<T*>(p_packed), *ds = static_cast<T*>(ds_), *dsp = static_cast<T*>(ds_packed);
  constexpr size_t step = kPairs<T> ? 2 : 1;
  for (size_t i = 0; i < rows; i += step) {
    T* __restrict to_p = pp + i * n;
    T* __restrict to_dsp = dsp + i * n;
    T* __restrict to_ds = ds + i * n;
    const float *s0 = s + i * n, *dp0 = dp + i * n;
    for (size_t j = 0; j < n; ++j) {
      for (size_t r = 0; r < step; ++r) {
        const float p = exponential(scale * s0[r * n + j] - lse[i + r]);
        const float d = p * (dp0[r * n + j] - delta[i + r]) * scale;
        store(to_p + j * step + r, p);
        if (step == 2) store(to_dsp + j * step + r, d);
        store(to_ds + r * n + j, d);
      }
    }
  }
}

template <typename T>
void transpose(const void* in_, Rows m, void* out_) {
  const T* in = static_cast<const T*>(in_);
  T* out = static_cast<T*>(out_);
  for (size_t j = 0; j < m.n; ++j) {
    for (size_t i = 0; i < m.rows; ++i) out[j * m.rows + i] = in[i * m.stride + j];
  }
}

template <typename T>
void pack(const void* in_, Rows m, void* out_) {
  const T* in = static_cast<const T*>(in_);
  T* out = static_cast<T*>(out_);
  for (size_t i = 0; i < m.rows; ++i) {
    for (size_t j = 0; j < m.n; ++j) out[place<T>(i, j, m.n)] = in[i * m.stride + j];
  }
}

template <typename T>
void pack_transposed(const void* in_, Rows m, void* out_) {
  const T* in = static_cast<const T*>(in_);
  T* out = static_cast<T*>(out_);
  for (size_t i = 0; i < m.n; ++i) {
    for (size_t j = 0; j < m.rows; ++j) out[place<T>(i, j, m.rows)] = in[j * m.stride + i];
  }
}

template <typename T>
void write(const float* in, const float* factor, void* out_, Rows m) {
  for (size_t i = 0; i < m.rows; ++i) {
    T* out = static_cast<T*>(out_) + i * m.stride;
    const float by = factor ? factor[i] : 1.0f;
    for (size_t j = 0; j < m.n; ++j) store(out + j, by * in[i * m.n + j]);
  }
}

template <typename T>
void write_transposed(const float* in, void* out_, Rows m) {
  for (size_t i = 0; i < m.rows; ++i) {
    T* out = static_cast<T*>(out_) + i * m.stride;
    for (size_t j = 0; j < m.n; ++j) store(out + j, in[j * m.rows + i]);
  }
}

template <typename T>
void dot(const void* a_, const void* b_, size_t rows, size_t n, size_t stride_a, size_t stride_b, float* out) {
  for (size_t i = 0; i < rows; ++i) {
    const T *a = static_cast<const T*>(a_) + i * stride_a, *b = static_cast<const T*>(b_) + i * stride_b;
    float total[kLanes] = {};
    size_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      for (size_t l = 0; l < kLanes; ++l) total[l] += load(a + j + l) * load(b + j + l);
    }
    for (; j < n; ++j) total[0] += load(a + j) * load(b + j);
    float all = 0;
    for (size_t l = 0; l < kLanes; ++l) all += total[l];
    out[i] = all;
  }
}

template <typename T>
constexpr AttentionKernels of() {
  return {softmax<T>, gradient<T>, transpose<T>, pack<T>, pack_transposed<T>, write<T>, write_transposed<T>, dot<T>};
}

} // namespace

extern const AttentionKernels kAttentionFloat, kAttentionBFloat16;
const AttentionKernels kAttentionFloat = of<float>();
const AttentionKernels kAttentionBFloat16 = of<Bits>();

} // namespace DFX_ISA
} // namespace dfx
