// Mapped files that are replaced, written to and cut while they are read.
#include "mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using sparq::MappedFile;

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what);
  failures++;
}

constexpr int64_t kBytes = 3 * 65536 + 100;  // several pages, whatever their size, and a piece of one

void write(const std::string& path, char filling, int64_t bytes = kBytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  const std::vector<char> content(bytes, filling);
  if (std::fwrite(content.data(), 1, content.size(), file) != content.size()) std::abort();
  std::fclose(file);
}

int64_t modified(const std::string& path) {
  struct stat found {};
  stat(path.c_str(), &found);
#if defined(__APPLE__)
  return int64_t{found.st_mtimespec.tv_sec} * 1'000'000'000 + found.st_mtimespec.tv_nsec;
#else
  return int64_t{found.st_mtim.tv_sec} * 1'000'000'000 + found.st_mtim.tv_nsec;
#endif
}

template <typename Call>
std::string messageOf(Call call) {
  try {
    call();
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

bool has(const std::string& message, const std::string& part) { return message.find(part) != std::string::npos; }

void refusals(const std::string& path) {
  write(path, 'a');
  const int64_t time = modified(path);
  const std::string missing = path + ".missing";
  expect(has(messageOf([&] { MappedFile(missing, 1, 1); }), missing), "a missing file is named");
  expect(has(messageOf([&] { MappedFile(path, kBytes + 1, time); }), "bytes, now " + std::to_string(kBytes)), "another size");
  expect(has(messageOf([&] { MappedFile(path, kBytes, time + 1); }), "written to"), "another time");
  const MappedFile file(path, kBytes, time);
  expect(*file.at(kBytes - 1, 1) == 'a', "the last byte");
  expect(has(messageOf([&] { file.at(kBytes - 1, 2); }), "are not among them"), "a byte too many");
  expect(has(messageOf([&] { file.at(INT64_MAX, 2); }), "are not among them"), "an offset far beyond");
}

void replaced(const std::string& path) {
  write(path, 'a');
  const MappedFile file(path, kBytes, modified(path));
  write(path + ".new", 'b');
  std::rename((path + ".new").c_str(), path.c_str());
  expect(*file.at(70000, 1) == 'a', "the old file stays");
  expect(messageOf([&] { file.checkUnchanged(); }).empty(), "a file that took its name is no change");
}

void cut(const std::string& path) {
  write(path, 'a');
  const MappedFile file(path, kBytes, modified(path));
  expect(*file.at(150000, 1) == 'a', "before");
  if (truncate(path.c_str(), 10) != 0) std::abort();
  int64_t sum = 0;
  for (int64_t at = 65536; at < 2 * 65536; at++) sum += *file.at(at, 1);
  expect(sum == 0, "zeros for what was cut off");
  expect(*file.at(0, 1) == 'a', "what is left stays");
  expect(has(messageOf([&] { file.checkUnchanged(); }), "now 10"), "the cut is noticed");
  // Whole again, with the old time: what was read meanwhile is still not to be trusted.
  write(path, 'a');
  expect(!messageOf([&] { file.checkUnchanged(); }).empty(), "the cut is not forgotten");
}

// A fault in memory of others ends the process as if there were no handler.
void othersFault(const std::string& path) {
  write(path, 'a');
  const MappedFile file(path, kBytes, modified(path));
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGALRM, SIG_DFL);
    alarm(20);
    std::fclose(stderr);
    std::FILE* other = std::fopen((path + ".other").c_str(), "wb+");
    auto* data = static_cast<const volatile char*>(mmap(nullptr, 100, PROT_READ, MAP_PRIVATE, fileno(other), 0));
    static_cast<void>(data[0]);  // an empty file has no page
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  // The sanitizer's own handler exits with a code.
  expect(WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS : WEXITSTATUS(status) != 0, "a fault elsewhere");
}

}  // namespace

int main() {
  std::string folder = "/tmp/sparq-mapped-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return 1;
  const std::string path = folder + "/weights";
  refusals(path);
  replaced(path);
  cut(path);
  othersFault(path);
  for (const char* suffix : {"", ".other"}) unlink((path + suffix).c_str());
  rmdir(folder.c_str());
  if (failures > 0) return 1;
  std::printf("mapped_file_test: ok\n");
}
