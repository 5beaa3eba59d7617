// CUDA's device and current stream through libtorch's device-independent interface, so that one source builds with and
// without CUDA: a CPU libtorch answers with an exception. See shim.h for the conventions.
#include "shim.h"

#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

using dfx::guarded;

namespace {

c10::Device cuda(int index) { return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index)); }

c10::impl::VirtualGuardImpl guard() { return c10::impl::VirtualGuardImpl(c10::kCUDA); }

} // namespace

extern "C" {

// Makes `device` the calling thread's current one.
char* dfx_set_device(int device) {
  return guarded([&] { guard().setDevice(cuda(device)); });
}

// The cudaStream_t of the calling thread's current stream; null is CUDA's default stream.
char* dfx_current_stream(int device, void** native) {
  return guarded([&] { *native = guard().getStream(cuda(device)).native_handle(); });
}

} // extern "C"
