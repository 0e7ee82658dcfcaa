// A file of weights, read where it is.
#pragma once
#include <cstdint>
#include <string>

namespace sparq {

// Maps a file for reading. Whoever replaces it by another (renaming that into its place) does not touch the mapping; whoever writes
// to it or cuts it does. A read of what was cut off, or of what the disk cannot give, does not end the process: it finds zeros,
// and checkUnchanged() then throws.
class MappedFile {
 public:
  // Throws std::runtime_error, naming the file, if it cannot be mapped, or has not `bytes` bytes last written to at `modified`,
  // nanoseconds since 1970.
  MappedFile(std::string path, int64_t bytes, int64_t modified);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  // The file's `bytes` bytes from `offset` on. Throws std::runtime_error with the numbers if it has fewer.
  const uint8_t* at(int64_t offset, int64_t bytes) const;
  // Throws std::runtime_error, naming the file, if it has been written to or cut since it was mapped, or could not be read.
  void checkUnchanged() const;

 private:
  const std::string path_;
  const int64_t bytes_, modified_;
  int descriptor_;
  uint8_t* data_ = nullptr;
  int guard_ = -1;  // its place among those that the signal's handler knows
};

}  // namespace sparq
