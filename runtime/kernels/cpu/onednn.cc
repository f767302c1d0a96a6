#include "runtime/kernels/cpu/onednn.h"

#include <spdlog/spdlog.h>

#include <iterator>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>

#include "comm/error.h"

// oneDNN of Debian runs its loops through OpenMP; this sets how many threads the calling thread may
// open, for itself alone.
extern "C" void omp_set_num_threads(int n_threads);

namespace kvfold::onednn {
namespace {

using dnnl::memory;

// The row count for which weights are laid out; every other row count is told to take that layout.
constexpr int64_t kPackingRows = 128;

void UseOneThread() {
  thread_local bool done = false;
  if (!done) {
    omp_set_num_threads(1);
    done = true;
  }
}

memory::data_type TypeOf(DType dtype) {
  KVFOLD_CHECK(dtype == DType::kF32 || dtype == DType::kBF16, "dtype", DTypeName(dtype));
  return dtype == DType::kF32 ? memory::data_type::f32 : memory::data_type::bf16;
}

dnnl::matmul::primitive_desc MakeDescription(const dnnl::engine& engine, const memory::desc& x,
                                             const memory::desc& w, const memory::desc& y) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(engine, x, w, y, attributes);
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(x, w, y), attributes, engine);
#endif
}

bool HasTiles(dnnl::cpu_isa isa) {
  const auto bits = static_cast<unsigned>(isa);
  const auto tiles = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_amx);
  return (bits & tiles) == tiles;
}

class OneDnnMatmul : public Matmul {
 public:
  OneDnnMatmul(const dnnl::engine& engine, const dnnl::matmul::primitive_desc& description,
               int n_workers)
      : primitive_(description) {
    const auto scratch_bytes = description.scratchpad_desc().get_size();
    for (int i = 0; i < n_workers; ++i) {
      auto worker = std::make_unique<Worker>(
          Worker{dnnl::stream(engine), memory(description.src_desc(), engine, nullptr),
                 memory(description.weights_desc(), engine, nullptr),
                 memory(description.dst_desc(), engine, nullptr), memory(),
                 std::vector<std::byte>(scratch_bytes + 64)});
      const auto at = reinterpret_cast<uintptr_t>(worker->scratch.data());
      worker->scratchpad = memory(description.scratchpad_desc(), engine,
                                  worker->scratch.data() + (64 - at % 64) % 64);
      workers_.push_back(std::move(worker));
    }
  }

  void Run(int worker, const void* x, const std::byte* packed, float* y) override {
    UseOneThread();
    Worker& w = *workers_.at(static_cast<size_t>(worker));
    w.x.set_data_handle(const_cast<void*>(x));
    w.weights.set_data_handle(const_cast<std::byte*>(packed));
    w.y.set_data_handle(y);
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, w.x.get()},
                                    {DNNL_ARG_WEIGHTS, w.weights.get()},
                                    {DNNL_ARG_DST, w.y.get()},
                                    {DNNL_ARG_SCRATCHPAD, w.scratchpad.get()}};
    const dnnl_status_t status =
        dnnl_primitive_execute(primitive_.get(), w.stream.get(), std::size(args), args);
    KVFOLD_CHECK(status == dnnl_success, "status", static_cast<int>(status));
  }

 private:
  struct Worker {
    dnnl::stream stream;
    memory x, weights, y, scratchpad;
    std::vector<std::byte> scratch;
  };
  dnnl::matmul primitive_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace

CpuIsa BestIsa() {
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  switch (isa) {
    case dnnl::cpu_isa::sse41:
      return CpuIsa::kGeneric;
    case dnnl::cpu_isa::avx:
      return CpuIsa::kGeneric;
    case dnnl::cpu_isa::avx2:
    case dnnl::cpu_isa::avx2_vnni:
      return CpuIsa::kAvx2;
    case dnnl::cpu_isa::avx512_core:
    case dnnl::cpu_isa::avx512_core_vnni:
      return CpuIsa::kAvx512;
    default:  // the enumerators beyond differ between oneDNN 2 and 3; their bits do not
      return HasTiles(isa) ? CpuIsa::kAmxBf16 : CpuIsa::kAvx512Bf16;
  }
}

std::string Version() {
  const dnnl::version_t* version = dnnl::version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

struct MatmulCache::State {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  DType dtype;
  int n_workers;
  std::mutex mutex;  // guards the maps; products themselves run unguarded
  std::map<std::pair<int64_t, int64_t>, memory::desc> packed;
  std::map<MatmulShape, std::unique_ptr<OneDnnMatmul>> products;

  State(DType dtype_in, int n_workers_in) : dtype(dtype_in), n_workers(n_workers_in) {}

  memory::desc Plain(int64_t rows, int64_t cols, int64_t stride, memory::data_type type) const {
    return memory::desc({rows, cols}, type, memory::dims{stride, 1});
  }
  // Requires: mutex held.
  const memory::desc& PackedDescription(int64_t n_out, int64_t n_in) {
    const auto found = packed.find({n_out, n_in});
    if (found != packed.end()) return found->second;
    const auto type = TypeOf(dtype);
    const memory::desc any({n_in, n_out}, type, memory::format_tag::any);
    const auto description =
        MakeDescription(engine, Plain(kPackingRows, n_in, n_in, type), any,
                        Plain(kPackingRows, n_out, n_out, memory::data_type::f32));
    return packed.emplace(std::make_pair(n_out, n_in), description.weights_desc()).first->second;
  }
};

MatmulCache::MatmulCache(DType dtype, int n_workers)
    : state_(std::make_unique<State>(dtype, n_workers)) {
  UseOneThread();
}
MatmulCache::~MatmulCache() = default;

int64_t MatmulCache::PackedBytes(int64_t n_out, int64_t n_in) {
  UseOneThread();
  const std::lock_guard lock(state_->mutex);
  return static_cast<int64_t>(state_->PackedDescription(n_out, n_in).get_size());
}

void MatmulCache::Pack(int64_t n_out, int64_t n_in, const void* plain, std::byte* packed) {
  UseOneThread();
  memory::desc description;
  {
    const std::lock_guard lock(state_->mutex);
    description = state_->PackedDescription(n_out, n_in);
  }
  const memory::desc transposed({n_in, n_out}, TypeOf(state_->dtype), memory::dims{1, n_in});
  memory from(transposed, state_->engine, const_cast<void*>(plain));
  memory to(description, state_->engine, packed);
  dnnl::stream stream(state_->engine);
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
}

Matmul& MatmulCache::Get(const MatmulShape& shape) {
  UseOneThread();
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->products.find(shape);
  if (found != state_->products.end()) return *found->second;
  const auto type = TypeOf(state_->dtype);
  const auto description =
      MakeDescription(state_->engine, state_->Plain(shape.m, shape.n_in, shape.x_stride, type),
                      state_->PackedDescription(shape.n_out, shape.n_in),
                      state_->Plain(shape.m, shape.n_out, shape.n_out, memory::data_type::f32));
  if (std::string_view(description.impl_info_str()).starts_with("ref")) {
    spdlog::warn("oneDNN {} multiplies [{}, {}] by [{}, {}] with its reference code, which is slow",
                 Version(), shape.m, shape.n_in, shape.n_in, shape.n_out);
  }
  auto product = std::make_unique<OneDnnMatmul>(state_->engine, description, state_->n_workers);
  return *state_->products.emplace(shape, std::move(product)).first->second;
}

}  // namespace kvfold::onednn
