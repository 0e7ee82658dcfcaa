// The part of ONNX Runtime's C interface that sparq uses, declared here because no npm package carries its header.
// Nothing else in the project knows a slot number or a struct layout of ONNX Runtime.
//
// The interface is a table of function pointers that is only ever appended to; a function is a slot of it. Asking for
// version 17 promises every slot up to KernelContext_GetScratchBuffer (277). Strings are UTF-8, int enums as noted.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sparq::ort {

// Opaque to us.
struct Status;
struct Env;
struct Session;
struct SessionOptions;
struct RunOptions;
struct Value;
struct MemoryInfo;
struct IoBinding;
struct TypeInfo;
struct TensorInfo;
struct Allocator;
struct CustomOpDomain;
struct KernelInfo;
struct KernelContext;

using AnyFunction = void (*)();
using Table = const AnyFunction*;

// What the library's one exported function, OrtGetApiBase(), returns.
struct ApiBase {
  Table (*getApi)(uint32_t version);     // null when the library is older than that version
  const char* (*getVersionString)();
};

constexpr uint32_t kApiVersion = 17;     // the lowest that has KernelContext_ParallelFor

// Set once by Runtime::load before anything below is called.
inline Table table = nullptr;

template <size_t Slot, typename Signature>
struct Function;
template <size_t Slot, typename Result, typename... Arguments>
struct Function<Slot, Result(Arguments...)> {
  Result operator()(Arguments... arguments) const {
    return reinterpret_cast<Result (*)(Arguments...)>(table[Slot])(arguments...);
  }
};

enum ErrorCode : int { kFail = 1 };
enum LoggingLevel : int { kLogFatal = 4 };
enum ElementType : int { kFloat = 1, kUint8 = 2, kInt64 = 7 };
enum OptimizationLevel : int { kOptimizeAll = 99 };
enum AllocatorType : int { kDeviceAllocator = 0 };
enum MemoryType : int { kDefaultMemory = 0 };

// A null Status* means success; any other must be released.
inline constexpr Function<0, Status*(ErrorCode, const char* message)> createStatus;
inline constexpr Function<2, const char*(const Status*)> getErrorMessage;
inline constexpr Function<93, void(Status*)> releaseStatus;

inline constexpr Function<3, Status*(LoggingLevel, const char* id, Env** out)> createEnv;

inline constexpr Function<10, Status*(SessionOptions** out)> createSessionOptions;
inline constexpr Function<17, Status*(SessionOptions*)> disableMemPattern;
inline constexpr Function<22, Status*(SessionOptions*, int level)> setSessionLogSeverityLevel;
inline constexpr Function<23, Status*(SessionOptions*, OptimizationLevel)> setGraphOptimizationLevel;
inline constexpr Function<24, Status*(SessionOptions*, int threads)> setIntraOpNumThreads;
inline constexpr Function<25, Status*(SessionOptions*, int threads)> setInterOpNumThreads;
inline constexpr Function<130, Status*(SessionOptions*, const char* key, const char* value)> addSessionConfigEntry;
inline constexpr Function<100, void(SessionOptions*)> releaseSessionOptions;

inline constexpr Function<7, Status*(const Env*, const char* path, const SessionOptions*, Session** out)> createSession;
inline constexpr Function<8, Status*(const Env*, const void* bytes, size_t size, const SessionOptions*, Session** out)>
    createSessionFromArray;
inline constexpr Function<30, Status*(const Session*, size_t* out)> sessionGetInputCount;
inline constexpr Function<31, Status*(const Session*, size_t* out)> sessionGetOutputCount;
inline constexpr Function<33, Status*(const Session*, size_t index, TypeInfo** out)> sessionGetInputTypeInfo;
inline constexpr Function<34, Status*(const Session*, size_t index, TypeInfo** out)> sessionGetOutputTypeInfo;
inline constexpr Function<36, Status*(const Session*, size_t index, Allocator*, char** out)> sessionGetInputName;
inline constexpr Function<37, Status*(const Session*, size_t index, Allocator*, char** out)> sessionGetOutputName;
inline constexpr Function<95, void(Session*)> releaseSession;

inline constexpr Function<78, Status*(Allocator** out)> getDefaultAllocator;
inline constexpr Function<76, Status*(Allocator*, void*)> allocatorFree;

inline constexpr Function<69, Status*(AllocatorType, MemoryType, MemoryInfo** out)> createCpuMemoryInfo;
inline constexpr Function<94, void(MemoryInfo*)> releaseMemoryInfo;

// The tensor looks at `data`, which must outlive it.
inline constexpr Function<49, Status*(const MemoryInfo*, void* data, size_t bytes, const int64_t* shape, size_t rank,
                                      ElementType, Value** out)>
    createTensorWithData;
inline constexpr Function<51, Status*(Value*, void** out)> getTensorMutableData;
inline constexpr Function<65, Status*(const Value*, TensorInfo** out)> getTensorInfo;
inline constexpr Function<96, void(Value*)> releaseValue;

// The tensor info belongs to the type info; null for what is no tensor.
inline constexpr Function<55, Status*(const TypeInfo*, const TensorInfo** out)> castTypeInfoToTensorInfo;
inline constexpr Function<98, void(TypeInfo*)> releaseTypeInfo;
inline constexpr Function<60, Status*(const TensorInfo*, ElementType* out)> getTensorElementType;
inline constexpr Function<61, Status*(const TensorInfo*, size_t* out)> getDimensionsCount;
inline constexpr Function<62, Status*(const TensorInfo*, int64_t* out, size_t rank)> getDimensions;  // -1: unknown
inline constexpr Function<99, void(TensorInfo*)> releaseTensorInfo;

inline constexpr Function<134, Status*(Session*, IoBinding** out)> createIoBinding;
inline constexpr Function<136, Status*(IoBinding*, const char* name, const Value*)> bindInput;
inline constexpr Function<137, Status*(IoBinding*, const char* name, const Value*)> bindOutput;
inline constexpr Function<141, void(IoBinding*)> clearBoundInputs;
inline constexpr Function<142, void(IoBinding*)> clearBoundOutputs;
inline constexpr Function<133, Status*(Session*, const RunOptions*, const IoBinding*)> runWithBinding;
inline constexpr Function<135, void(IoBinding*)> releaseIoBinding;

inline constexpr Function<85, Status*(const KernelInfo*, const char* name, float* out)> kernelInfoGetFloat;
inline constexpr Function<86, Status*(const KernelInfo*, const char* name, int64_t* out)> kernelInfoGetInt64;
// With out = null these two write the size needed; that of a text has its terminator in it.
inline constexpr Function<87, Status*(const KernelInfo*, const char* name, char* out, size_t* size)> kernelInfoGetString;
inline constexpr Function<163, Status*(const KernelInfo*, const char* name, int64_t* out, size_t* size)> kernelInfoGetInt64s;
// With out = null writes the size needed, terminator included.
inline constexpr Function<244, Status*(const KernelInfo*, char* out, size_t* size)> kernelInfoGetNodeName;
// *out stays the runtime's.
inline constexpr Function<249, Status*(const KernelInfo*, size_t index, int* isConstant, const Value** out)>
    kernelInfoGetConstantInput;
inline constexpr Function<88, Status*(const KernelContext*, size_t* out)> kernelContextGetInputCount;
inline constexpr Function<90, Status*(const KernelContext*, size_t index, const Value** out)> kernelContextGetInput;
inline constexpr Function<91, Status*(KernelContext*, size_t index, const int64_t* shape, size_t rank, Value** out)>
    kernelContextGetOutput;
// Runs task(user, i) for i in [0, total) on the session's threads and returns when all are done.
inline constexpr Function<274, Status*(const KernelContext*, void (*task)(void* user, size_t i), size_t total,
                                       size_t batches, void* user)>
    kernelContextParallelFor;

inline constexpr Function<26, Status*(const char* domain, CustomOpDomain** out)> createCustomOpDomain;
struct CustomOp;
inline constexpr Function<27, Status*(CustomOpDomain*, const CustomOp*)> customOpDomainAdd;
inline constexpr Function<28, Status*(SessionOptions*, CustomOpDomain*)> addCustomOpDomain;
inline constexpr Function<101, void(CustomOpDomain*)> releaseCustomOpDomain;

enum InputCharacteristic : int { kRequired = 0, kOptional = 1 };

// Filled in by us and read by ONNX Runtime, which reads the members that `version` has. All getters must be set but
// where noted; the two V2 functions replace the ones without.
struct CustomOp {
  uint32_t version;
  void* (*createKernel)(const CustomOp*, Table, const KernelInfo*);  // unused
  const char* (*getName)(const CustomOp*);
  const char* (*getExecutionProvider)(const CustomOp*);              // null: CPU
  ElementType (*getInputType)(const CustomOp*, size_t index);
  size_t (*getInputTypeCount)(const CustomOp*);
  ElementType (*getOutputType)(const CustomOp*, size_t index);
  size_t (*getOutputTypeCount)(const CustomOp*);
  void (*kernelCompute)(void* kernel, KernelContext*);               // unused
  void (*kernelDestroy)(void* kernel);
  InputCharacteristic (*getInputCharacteristic)(const CustomOp*, size_t index);
  InputCharacteristic (*getOutputCharacteristic)(const CustomOp*, size_t index);
  MemoryType (*getInputMemoryType)(const CustomOp*, size_t index);
  int (*getVariadicInputMinArity)(const CustomOp*);
  int (*getVariadicInputHomogeneity)(const CustomOp*);
  int (*getVariadicOutputMinArity)(const CustomOp*);
  int (*getVariadicOutputHomogeneity)(const CustomOp*);
  Status* (*createKernelV2)(const CustomOp*, Table, const KernelInfo*, void** kernel);
  Status* (*kernelComputeV2)(void* kernel, KernelContext*);
  Status* (*inferOutputShape)(const CustomOp*, void* context);       // null: shapes are not inferred
  int (*getStartVersion)(const CustomOp*);
  int (*getEndVersion)(const CustomOp*);
  AnyFunction inPlaceAndAliases[4];                                  // null: none
};
static_assert(sizeof(CustomOp) == 208 && offsetof(CustomOp, createKernelV2) == 136);

}  // namespace sparq::ort
