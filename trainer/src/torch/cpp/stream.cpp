// CUDA streams and events through libtorch's device-independent interface, so that one source builds with and without
// CUDA: a CPU libtorch answers with an exception. See shim.h for the conventions.
#include "shim.h"

#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

using dfx::guarded;

namespace {

c10::Device cuda(int index) { return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index)); }

c10::impl::VirtualGuardImpl guard() { return c10::impl::VirtualGuardImpl(c10::kCUDA); }

} // namespace

extern "C" {

// A stream of the device's pool of high-priority streams, and its cudaStream_t.
char* dfx_stream_new(int device, c10::Stream** out, void** native) {
  return guarded([&] {
    c10::Stream stream = guard().getStreamFromGlobalPool(cuda(device), /*isHighPriority=*/true);
    *native = stream.native_handle();
    *out = new c10::Stream(stream);
  });
}

void dfx_stream_free(c10::Stream* stream) { delete stream; }

// Makes `device` the calling thread's current one.
char* dfx_set_device(int device) {
  return guarded([&] { guard().setDevice(cuda(device)); });
}

// Records an event on `stream`, or on the calling thread's current stream where it is null.
char* dfx_event_record(int device, const c10::Stream* stream, c10::Event** out) {
  return guarded([&] {
    auto event = std::make_unique<c10::Event>(c10::kCUDA);
    event->record(stream ? *stream : guard().getStream(cuda(device)));
    *out = event.release();
  });
}

// Makes `stream` (null: the calling thread's current one) wait for the event. The host does not wait.
char* dfx_event_block(const c10::Event* event, int device, const c10::Stream* stream) {
  return guarded([&] { event->block(stream ? *stream : guard().getStream(cuda(device))); });
}

char* dfx_event_query(const c10::Event* event, bool* done) {
  return guarded([&] { *done = event->query(); });
}

void dfx_event_free(c10::Event* event) {
  // The destructor may find the driver gone at the end of the process.
  char* message = guarded([&] { delete event; });
  free(message);
}

} // extern "C"
