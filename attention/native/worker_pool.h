// Threads of our own, for attention outside ONNX Runtime (tests and kernel benchmarks).
#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "attention.h"

namespace sparq {

// `threads` threads in all, the calling one included. Not to be used by two callers at once.
class WorkerPool {
 public:
  explicit WorkerPool(int threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Good as long as this object.
  Pool pool();

 private:
  void run(size_t n, void (*task)(void*, size_t), void* user);
  void work();
  void takeTasks();

  std::mutex mutex_;
  std::condition_variable changed_;
  int generation_ = 0;  // of the job, raised for each
  int busy_ = 0;        // workers that have not finished the job
  bool stopping_ = false;
  size_t total_ = 0;
  std::atomic<size_t> next_{0};
  void (*task_)(void*, size_t) = nullptr;
  void* user_ = nullptr;
  std::vector<std::thread> workers_;
};

}  // namespace sparq
