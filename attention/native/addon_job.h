// Work off the main thread, as a promise. For addon*.cc only.
#pragma once
#include <exception>
#include <memory>
#include <string>

#include "addon_values.h"

namespace sparq {

class Job {
 public:
  virtual ~Job() = default;

  // Takes the job over and gives its promise.
  static Napi::Promise start(Napi::Env env, std::unique_ptr<Job> job, const char* name) {
    napi_value promise = nullptr;
    napi_value resource = Napi::String::New(env, name);
    const bool queued = napi_create_promise(env, &job->deferred_, &promise) == napi_ok &&
                        napi_create_async_work(env, nullptr, resource, execute, complete, job.get(), &job->work_) == napi_ok &&
                        napi_queue_async_work(env, job->work_) == napi_ok;
    if (!queued) throw Napi::Error::New(env, std::string(name) + ": Node takes no more work");
    job->started();
    job.release();
    return {env, promise};
  }

 protected:
  virtual void started() {}
  virtual void run() = 0;                      // on another thread
  virtual void ended() {}                      // on the main thread again, whatever came of it
  virtual Napi::Value result(Napi::Env env) = 0;

 private:
  static void execute(napi_env, void* data) {
    Job& job = *static_cast<Job*>(data);
    try {
      job.run();
    } catch (...) {
      job.failure_ = std::current_exception();
    }
  }

  static void complete(napi_env rawEnv, napi_status, void* data) {
    const std::unique_ptr<Job> job(static_cast<Job*>(data));
    const Napi::Env env(rawEnv);
    const Napi::HandleScope scope(env);
    napi_delete_async_work(env, job->work_);
    job->ended();
    try {
      job->settle(env);
    } catch (const Napi::Error&) {
      // The environment is being torn down: nobody waits for the promise any more.
    }
  }

  void settle(Napi::Env env) {
    try {
      const Napi::Value value = guarded(env, [&] {
        if (failure_) std::rethrow_exception(failure_);
        return result(env);
      });
      napi_resolve_deferred(env, deferred_, value);
    } catch (const Napi::Error& error) {
      napi_reject_deferred(env, deferred_, error.Value());
    }
  }

  napi_deferred deferred_ = nullptr;
  napi_async_work work_ = nullptr;
  std::exception_ptr failure_;
};

// A promise that is rejected with what `function` throws, or the one it returns.
template <typename Function>
Napi::Value rejecting(Napi::Env env, Function function) {
  try {
    return guarded(env, function);
  } catch (const Napi::Error& error) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(error.Value());
    return deferred.Promise();
  }
}

}  // namespace sparq
