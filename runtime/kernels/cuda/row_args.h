// runtime/kernels/cuda/row_args.h: what the kernels over rows are told. Strides are elements.
#pragma once

#include <cstdint>

#include "comm/base/rounding.h"
#include "comm/device/dtype.h"
#include "models/model_config.h"
#include "runtime/kernels/cuda/attention_args.h"

namespace kvfold::cuda {

// Neighbours that a thread takes at a time: 8, in accesses of 16 bytes, where every row starts at a
// multiple of 16 bytes and has a multiple of 8 elements; else 1.
struct RowAccess {
  bool wide = true;
  void Row(const void* data, int64_t stride, DType dtype, int64_t rows) {
    if (data == nullptr) return;
    wide = wide && reinterpret_cast<uintptr_t>(data) % 16 == 0 &&
           (rows <= 1 || stride * DTypeBytes(dtype) % 16 == 0);
  }
  void Cols(int64_t cols) { wide = wide && cols % 8 == 0; }
};

struct AddRmsNormArgs {
  float* residual = nullptr;
  const void* delta = nullptr;          // null: nothing is added
  const float* delta_weight = nullptr;  // null: delta is added as it is
  const float* weight = nullptr;
  void* out = nullptr;
  int64_t residual_stride = 0;
  int64_t delta_stride = 0;
  int64_t out_stride = 0;
  int rows = 0;
  int dim = 0;
  float eps = 0.0f;
  DType delta_dtype = DType::kF32;
  DType out_dtype = DType::kF32;
  bool wide = false;
};

struct GatedActivationArgs {
  const void* gate_up = nullptr;  // rows of gate [ffn], up [ffn]
  void* out = nullptr;
  int64_t in_stride = 0;
  int64_t out_stride = 0;
  int rows = 0;
  int ffn = 0;
  Activation activation = Activation::kSilu;
  DType in_dtype = DType::kF32;
  DType out_dtype = DType::kF32;
  bool wide = false;
};

struct SoftCapArgs {
  float* logits = nullptr;
  int64_t stride = 0;
  int rows = 0;
  int cols = 0;
  float cap = 0.0f;
};

struct RopeTableArgs {
  const int64_t* positions = nullptr;
  const float* inv_freq = nullptr;
  float* out = nullptr;  // rows of cosines [half], sines [half]
  int64_t out_stride = 0;
  int rows = 0;
  int half = 0;
};

inline constexpr int kRopeThreads = 256;  // of a block: heads of one row
// Lanes that share a head: a power of two, so that they are of one warp and reduce among
// themselves.
constexpr int RopeLanesPerHead(int head_dim, bool wide) {
  int lanes = 32;
  while (wide && lanes > 1 && lanes / 2 * 16 >= head_dim) lanes /= 2;
  return lanes;
}
// One row of the batch and its place in the cache.
struct RopeAppendArgs {
  const BatchSequence* sequences = nullptr;
  const unsigned char* const* blocks = nullptr;
  const int* sequence_of = nullptr;  // by row
  const float* rope = nullptr;
  // KeyBias and AttentionHeads::slot_rope; null where the cache has no key bias.
  const float* key_bias = nullptr;
  const float* block_rope = nullptr;
  const float* slot_rope = nullptr;
  // Of query heads and of key heads; both null where there are none.
  const float* query_norm = nullptr;
  const float* key_norm = nullptr;
  float norm_eps = 0.0f;
  void* qkv = nullptr;
  int64_t rope_stride = 0;
  int64_t block_rope_stride = 0;
  int64_t qkv_stride = 0;
  int64_t layer_offset_bytes = 0;
  int64_t head_bytes = 0;
  int64_t tile_bytes = 0;
  int rows = 0;
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int lanes_per_head = 0;
  DType qkv_dtype = DType::kF32;
  DType kv_dtype = DType::kF32;
  bool wide = false;
  int blocks_per_row() const {
    return CeilDiv(n_heads + 2 * n_kv_heads, kRopeThreads / lanes_per_head);
  }
};

struct LogitStatsArgs {
  const float* logits = nullptr;
  const int64_t* targets = nullptr;
  float* stats = nullptr;  // [rows][3]: largest, sum of exponentials, the target's logit
  int64_t stride = 0;
  int64_t cols = 0;
  int rows = 0;
};

// Rows go in parts of so many columns, a block each: at most kMostArgMaxParts of them.
inline constexpr int kMostArgMaxParts = 64;
constexpr int64_t ArgMaxColumns(int64_t cols) {
  constexpr int64_t kLeast = 4096;  // 16 a thread
  return Most(kLeast, CeilDiv<int64_t>(cols, kMostArgMaxParts * 8) * 8);
}
struct ArgMaxPart {
  float logit;
  int column;  // of the row
};
struct ArgMaxArgs {
  const float* logits = nullptr;
  ArgMaxPart* parts = nullptr;  // [rows][n_parts]: ArgMaxLogit of kernels.h, of a part
  int64_t stride = 0;
  int cols = 0;
  int part_cols = 0;  // a multiple of 8
  int rows = 0;
  int n_parts = 0;
  bool wide = false;
};

// y = bias in every row.
struct FillRowsArgs {
  const float* bias = nullptr;  // null: zeros
  void* y = nullptr;
  int64_t stride = 0;
  int rows = 0;
  int cols = 0;
  DType dtype = DType::kF32;
};

inline constexpr int kRowThreads = 256;  // of a block; a row a block

}  // namespace kvfold::cuda
