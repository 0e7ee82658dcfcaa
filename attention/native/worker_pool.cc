#include "worker_pool.h"

#include <system_error>

namespace sparq {

WorkerPool::WorkerPool(int threads) {
  workers_.reserve(threads);
  try {
    for (int i = 1; i < threads; i++) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    // The system gives no more threads: those that there are do the work.
  }
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

Pool WorkerPool::pool() {
  const auto run = [](void* context, size_t n, void (*task)(void*, size_t), void* user) {
    static_cast<WorkerPool*>(context)->run(n, task, user);
  };
  return {this, run, static_cast<int>(workers_.size()) + 1};
}

void WorkerPool::run(size_t n, void (*task)(void*, size_t), void* user) {
  {
    const std::lock_guard lock(mutex_);
    total_ = n;
    task_ = task;
    user_ = user;
    next_ = 0;
    busy_ = static_cast<int>(workers_.size());
    generation_++;
  }
  changed_.notify_all();
  takeTasks();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return busy_ == 0; });
}

void WorkerPool::takeTasks() {
  for (size_t i = next_++; i < total_; i = next_++) task_(user_, i);
}

void WorkerPool::work() {
  int seen = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || generation_ != seen; });
    if (stopping_) return;
    seen = generation_;
    lock.unlock();
    takeTasks();
    lock.lock();
    if (--busy_ == 0) changed_.notify_all();
  }
}

}  // namespace sparq
