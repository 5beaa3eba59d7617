// Which of the instruction sets that the kernels are compiled for this machine has.
#pragma once

namespace dfx {

enum class Isa { kBaseline, kAvx2, kAvx512 };

inline Isa isa() {
#ifdef DFX_X86
  static const Isa found = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      return Isa::kAvx512;
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? Isa::kAvx2 : Isa::kBaseline;
  }();
  return found;
#else
  return Isa::kBaseline;
#endif
}

} // namespace dfx

// Declares the tables of all sets, and `name(type)`, which chooses one.
#ifdef DFX_X86
#define DFX_KERNELS(Table, name, Float, BFloat16)                                               \
  namespace baseline { extern const Table Float, BFloat16; }                                    \
  namespace avx2 { extern const Table Float, BFloat16; }                                        \
  namespace avx512 { extern const Table Float, BFloat16; }                                      \
  inline const Table& name(at::ScalarType type) {                                               \
    const bool f = type == at::kFloat;                                                          \
    switch (isa()) {                                                                            \
      case Isa::kAvx512: return f ? avx512::Float : avx512::BFloat16;                           \
      case Isa::kAvx2: return f ? avx2::Float : avx2::BFloat16;                                 \
      default: return f ? baseline::Float : baseline::BFloat16;                                 \
    }                                                                                           \
  }
#else
#define DFX_KERNELS(Table, name, Float, BFloat16)                                               \
  namespace baseline { extern const Table Float, BFloat16; }                                    \
  inline const Table& name(at::ScalarType type) {                                               \
    return type == at::kFloat ? baseline::Float : baseline::BFloat16;                           \
  }
#endif
