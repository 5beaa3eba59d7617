// What attention_kernels.cpp offers. Plain declarations only, see kernel_math.h.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace dfx {

// `rows` rows of `n` values, `stride` values apart.
struct Rows {
  size_t rows, n, stride;
};

// Matrices in memory: float32, or bfloat16 as uint16_t. `packed` is how a matrix product wants its right side: bfloat16 with
// each pair of rows interleaved, float32 as it is.
struct AttentionKernels {
  // exp(scale * s - max) by row into a plain matrix, and each row's maximum of scale * s and sum of the exponentials.
  void (*softmax)(const float* s, void* out, size_t rows, size_t n, float scale, float* max, float* sum);
  // p = exp(scale * s - lse) into packed, and ds = p * (dp - delta) * scale into plain and packed. n values a row.
  void (*gradient)(const float* s, const float* dp, size_t rows, size_t n, float scale, const float* lse,
                   const float* delta, void* p_packed, void* ds, void* ds_packed);
  // out[j][i] = in[i][j], plain.
  void (*transpose)(const void* in, Rows, void* out);
  // in[i][j], packed.
  void (*pack)(const void* in, Rows, void* out);
  // out[j][i] = in[i][j], packed.
  void (*pack_transposed)(const void* in, Rows, void* out);
  // out rows = factor[row] * in (rows of n float32), in the kind of the tensors. Null: a factor of 1.
  void (*store)(const float* in, const float* factor, void* out, Rows);
  // out[i][j] = in[j][i], where `in` is float32 with n rows of `rows` values.
  void (*store_transposed)(const float* in, void* out, Rows);
  // The sum of a * b of each row; strides of their own.
  void (*dot)(const void* a, const void* b, size_t rows, size_t n, size_t stride_a, size_t stride_b, float* out);
};

} // namespace dfx
