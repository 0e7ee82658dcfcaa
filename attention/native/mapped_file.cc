#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <stdexcept>

namespace sparq {
namespace {

// What is mapped, for the handler of SIGBUS: no lock and no memory may be asked for there.
struct Guard {
  std::atomic<uintptr_t> begin{0}, end{0};  // end 0: free
  std::atomic<bool> lost{false};            // a page of it could not be read
};
constexpr int kGuards = 1024;
Guard guards[kGuards];
std::mutex guardsMutex;
struct sigaction previousAction;
uintptr_t pageSize;

// The kernel has no page for what was cut off (or cannot be read): zeros take the place of all that follows, and the file is marked.
void onBusError(int, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Guard& guard : guards) {
    const uintptr_t end = guard.end.load();
    if (address >= end || address < guard.begin.load()) continue;
    guard.lost = true;
    const int error = errno;
    const uintptr_t page = address / pageSize * pageSize;
    void* const zeros = mmap(reinterpret_cast<void*>(page), end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = error;
    if (zeros != MAP_FAILED) return;
  }
  // Nobody's here: the read is tried again and meets whoever was there before us.
  sigaction(SIGBUS, &previousAction, nullptr);
}

int guard(const void* data, int64_t bytes) {
  const std::lock_guard lock(guardsMutex);
  if (pageSize == 0) {
    pageSize = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action {};
    action.sa_sigaction = onBusError;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGBUS, &action, &previousAction);
  }
  for (int i = 0; i < kGuards; i++) {
    if (guards[i].end != 0) continue;
    guards[i].lost = false;
    guards[i].begin = reinterpret_cast<uintptr_t>(data);
    guards[i].end = reinterpret_cast<uintptr_t>(data) + bytes;
    return i;
  }
  return -1;
}

int64_t modifiedOf(const struct stat& found) {
#if defined(__APPLE__)
  const timespec& time = found.st_mtimespec;
#else
  const timespec& time = found.st_mtim;
#endif
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

MappedFile::MappedFile(std::string path, int64_t bytes, int64_t modified)
    : path_(std::move(path)), bytes_(bytes), modified_(modified), descriptor_(open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) throw std::runtime_error(path_ + " cannot be opened: " + std::strerror(errno));
  try {
    checkUnchanged();
    void* const data = mmap(nullptr, static_cast<size_t>(bytes_), PROT_READ, MAP_PRIVATE, descriptor_, 0);
    if (data == MAP_FAILED) throw std::runtime_error(path_ + " cannot be mapped: " + std::strerror(errno));
    data_ = static_cast<uint8_t*>(data);
    guard_ = guard(data_, bytes_);
  } catch (...) {
    close(descriptor_);
    throw;
  }
}

MappedFile::~MappedFile() {
  if (guard_ >= 0) guards[guard_].end = 0;
  munmap(data_, static_cast<size_t>(bytes_));
  close(descriptor_);
}

const uint8_t* MappedFile::at(int64_t offset, int64_t bytes) const {
  if (offset < 0 || bytes < 0 || offset > bytes_ - bytes) {
    throw std::runtime_error(path_ + " has " + std::to_string(bytes_) + " bytes, " + std::to_string(bytes) + " at " +
                             std::to_string(offset) + " are not among them");
  }
  return data_ + offset;
}

void MappedFile::checkUnchanged() const {
  struct stat found {};
  if (fstat(descriptor_, &found) != 0) throw std::runtime_error(path_ + ": " + std::strerror(errno));
  const auto size = static_cast<int64_t>(found.st_size);
  if (size != bytes_) {
    throw std::runtime_error(path_ + " has changed while it is used: it had " + std::to_string(bytes_) + " bytes, now " +
                             std::to_string(size) + "; load the model again");
  }
  if (modifiedOf(found) != modified_) {
    throw std::runtime_error(path_ + " has changed while it is used: somebody has written to it; load the model again");
  }
  if (guard_ >= 0 && guards[guard_].lost) throw std::runtime_error(path_ + " could not be read; load the model again");
}

}  // namespace sparq
