// Stands in for libnccl and libcuda over host memory, for tests: a stream is a thread, an event a flag, and ranks meet in
// a shared file. Only what the trainer calls is here.
//
// Faults come from the environment. STAND_IN_FAULT happens on rank STAND_IN_RANK, at all-reduce number STAND_IN_CALL
// (from 0) of its communicator: `error` (the call fails), `async` (the communicator fails afterwards), `device` (events
// fail from then on), `hang` (it never ends); or `start`: the communicator is never ready.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace {

enum { kSuccess = 0, kCudaError = 1, kSystemError = 2, kInvalidArgument = 4, kRemoteError = 6, kInProgress = 7 };
enum { kNotReady = 600, kLaunchFailed = 719 };
constexpr int kRanks = 8;
constexpr size_t kChunk = 1 << 16;

std::atomic<bool> device_broken{false};

void nap() { usleep(50); }

struct Flag {
  std::atomic<bool> done{false};
};

struct Event {
  std::shared_ptr<Flag> flag;
};

// Runs what it is given, one after the other.
class Stream {
 public:
  Stream() : thread_([this] { run(); }) { thread_.detach(); }
  void give(std::function<void()> work) {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(work));
    wake_.notify_one();
  }

 private:
  void run() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return !queue_.empty(); });
      auto work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      work();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  std::thread thread_;
};

// The null stream is the host itself.
void give(void* stream, std::function<void()> work) {
  if (stream == nullptr) {
    work();
  } else {
    static_cast<Stream*>(stream)->give(std::move(work));
  }
}

// What the ranks share.
struct Shared {
  std::atomic<int> attached;
  std::atomic<int> aborted;
  std::atomic<uint64_t> arrivals;
  alignas(64) char slots[kRanks][kChunk];
};

struct Comm {
  Shared* shared = nullptr;
  int rank = 0, size = 1;
  std::atomic<int> error{kSuccess};
  std::atomic<bool> aborted{false};
  std::atomic<int> polls{0};
  int calls = 0;
  uint64_t meetings = 0;  // on the stream's thread alone

  // Returns whether all ranks have come; if not, it was aborted.
  bool meet() {
    const uint64_t all = ++meetings * static_cast<uint64_t>(size);
    shared->arrivals.fetch_add(1);
    while (shared->arrivals.load() < all) {
      if (aborted) return false;
      if (shared->aborted) error = kRemoteError;
      nap();
    }
    return true;
  }
  void hang() {
    while (!aborted) {
      if (shared->aborted) error = kRemoteError;
      nap();
    }
  }
};

bool fault(const char* what, const Comm& comm, int call) {
  const char *name = getenv("STAND_IN_FAULT"), *rank = getenv("STAND_IN_RANK"), *at = getenv("STAND_IN_CALL");
  return name && rank && std::string(name) == what && atoi(rank) == comm.rank && (call < 0 || (at && atoi(at) == call));
}

struct Bf16 {
  uint16_t bits;
  operator float() const {
    uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
  }
  static Bf16 from(float value) {
    uint32_t wide;
    memcpy(&wide, &value, sizeof wide);
    return {static_cast<uint16_t>((wide + 0x7fff + ((wide >> 16) & 1)) >> 16)};
  }
};

// Adds in the order of the ranks.
template <typename T, typename Wide>
void fold(const Comm& comm, void* out, size_t bytes, bool sum) {
  for (size_t i = 0; i < bytes / sizeof(T); ++i) {
    auto at = [&](int rank) { return static_cast<Wide>(reinterpret_cast<const T*>(comm.shared->slots[rank])[i]); };
    Wide value = at(0);
    for (int rank = 1; rank < comm.size; ++rank) value = sum ? value + at(rank) : std::max(value, at(rank));
    if constexpr (std::is_same_v<T, Bf16>) {
      static_cast<T*>(out)[i] = Bf16::from(value);
    } else {
      static_cast<T*>(out)[i] = value;
    }
  }
}

size_t width(int type) { return type == 7 ? 4 : type == 9 ? 2 : 8; }

void reduce(Comm* comm, char* data, size_t bytes, int type, int op) {
  for (size_t start = 0; start < bytes; start += kChunk) {
    const size_t n = std::min(kChunk, bytes - start);
    memcpy(comm->shared->slots[comm->rank], data + start, n);
    if (!comm->meet()) return;
    const bool sum = op == 0;
    switch (type) {
      case 4: fold<int64_t, int64_t>(*comm, data + start, n, sum); break;
      case 7: fold<float, float>(*comm, data + start, n, sum); break;
      case 8: fold<double, double>(*comm, data + start, n, sum); break;
      default: fold<Bf16, float>(*comm, data + start, n, sum);
    }
    if (!comm->meet()) return;
  }
}

void spread(Comm* comm, char* data, size_t bytes, int root) {
  for (size_t start = 0; start < bytes; start += kChunk) {
    const size_t n = std::min(kChunk, bytes - start);
    if (comm->rank == root) memcpy(comm->shared->slots[root], data + start, n);
    if (!comm->meet()) return;
    memcpy(data + start, comm->shared->slots[root], n);
    if (!comm->meet()) return;
  }
}

} // namespace

extern "C" {

struct UniqueId {
  char path[128];
};

struct Config {
  size_t size;
  unsigned magic, version;
  int blocking;
};

unsigned ncclGetVersion(int* version) {
  *version = 22907;
  return kSuccess;
}

const char* ncclGetErrorString(unsigned code) {
  switch (code) {
    case kCudaError: return "unhandled cuda error";
    case kSystemError: return "unhandled system error";
    case kRemoteError: return "remote process exited or there was a network error";
    default: return "another error";
  }
}

const char* ncclGetLastError(void*) { return ""; }

unsigned ncclGetUniqueId(UniqueId* id) {
  char path[] = "/dev/shm/nccl-stand-in-XXXXXX";
  const int file = mkstemp(path);
  if (file < 0 || ftruncate(file, sizeof(Shared)) != 0) return kSystemError;
  close(file);
  memset(id, 0, sizeof *id);
  strcpy(id->path, path);
  return kSuccess;
}

unsigned ncclCommInitRankConfig(Comm** out, int size, UniqueId id, int rank, Config* config) {
  if (config->magic != 0xcafebeef || config->size != sizeof(Config) || config->blocking != 0 || size > kRanks) {
    return kInvalidArgument;
  }
  const int file = open(id.path, O_RDWR);
  if (file < 0) return kSystemError;
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return kSystemError;
  auto* comm = new Comm;
  comm->shared = static_cast<Shared*>(memory);
  comm->rank = rank;
  comm->size = size;
  *out = comm;
  if (!fault("start", *comm, -1) && comm->shared->attached.fetch_add(1) + 1 == size) unlink(id.path);
  return kInProgress;
}

unsigned ncclCommGetAsyncError(Comm* comm, unsigned* state) {
  *state = comm->error;
  if (comm->shared->attached < comm->size || comm->polls > 0) *state = kInProgress;
  if (comm->polls > 0) comm->polls--;
  return kSuccess;
}

unsigned ncclCommAbort(Comm* comm) {
  comm->shared->aborted = 1;
  comm->aborted = true;
  return kSuccess;
}

unsigned ncclCommFinalize(Comm*) { return kInProgress; }

unsigned ncclCommDestroy(Comm*) { return kSuccess; }

unsigned ncclAllReduce(const void* in, void* out, size_t count, int type, int op, Comm* comm, void* stream) {
  const int call = comm->calls++;
  if (in != out || stream == nullptr) return kInvalidArgument;
  if (fault("error", *comm, call)) return kCudaError;
  if (fault("device", *comm, call)) device_broken = true;
  const size_t bytes = count * width(type);
  give(stream, [=] {
    if (fault("async", *comm, call)) comm->error = kSystemError;
    if (fault("async", *comm, call) || fault("hang", *comm, call)) return comm->hang();
    reduce(comm, static_cast<char*>(out), bytes, type, op);
  });
  // Now and then it takes a while to be enqueued.
  comm->polls = call % 3 == 2 ? 2 : 0;
  return comm->polls > 0 ? kInProgress : kSuccess;
}

unsigned ncclBroadcast(const void* in, void* out, size_t count, int type, int root, Comm* comm, void* stream) {
  if (in != out || stream == nullptr) return kInvalidArgument;
  const size_t bytes = count * width(type);
  give(stream, [=] { spread(comm, static_cast<char*>(out), bytes, root); });
  return kSuccess;
}

unsigned cuInit(unsigned) { return 0; }

unsigned cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return 0;
}

unsigned cuDevicePrimaryCtxRetain(void** context, int) {
  static char primary;
  *context = &primary;
  return 0;
}

static thread_local void* current = nullptr;

unsigned cuCtxGetCurrent(void** context) {
  *context = current;
  return 0;
}

unsigned cuCtxSetCurrent(void* context) {
  current = context;
  return 0;
}

unsigned cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return 0;
}

unsigned cuStreamCreateWithPriority(void** stream, unsigned, int) {
  *stream = new Stream;
  return current ? 0 : 201;
}

unsigned cuStreamWaitEvent(void* stream, Event* event, unsigned) {
  give(stream, [flag = event->flag] {
    while (!flag->done && !device_broken) nap();
  });
  return 0;
}

unsigned cuEventCreate(Event** event, unsigned) {
  *event = new Event{std::make_shared<Flag>()};
  return current ? 0 : 201;
}

unsigned cuEventRecord(Event* event, void* stream) {
  give(stream, [flag = event->flag] { flag->done = true; });
  return 0;
}

unsigned cuEventQuery(Event* event) { return device_broken ? kLaunchFailed : event->flag->done ? 0 : kNotReady; }

unsigned cuEventDestroy_v2(Event* event) {
  delete event;
  return 0;
}

unsigned cuGetErrorString(unsigned code, const char** text) {
  *text = code == kLaunchFailed ? "unspecified launch failure" : "another error";
  return 0;
}

} // extern "C"
