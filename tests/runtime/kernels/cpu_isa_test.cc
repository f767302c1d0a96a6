// Which instruction sets the CPU kernels are chosen from. CTest runs this program under several
// caps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "comm/device/cpu_device.h"
#include "comm/error.h"
#include "runtime/kernels/cpu/cpu_kernels.h"

namespace kvfold {
namespace {

// Sets a variable of the environment for as long as it lives.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~ScopedVariable() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(CpuIsaTest, AllUpToTheBestAreAvailable) {
  const std::vector<CpuIsa> isas = AvailableCpuIsas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), CpuIsa::kGeneric);
  EXPECT_EQ(isas.back(), DetectCpuIsa());
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
}

TEST(CpuIsaTest, TheEnvironmentCaps) {
  const CpuIsa before = DetectCpuIsa();
  for (const CpuIsa isa :
       {CpuIsa::kGeneric, CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kAvx512Bf16, CpuIsa::kAmxBf16}) {
    if (isa > before) continue;
    const ScopedVariable cap("KVFOLD_MAX_CPU_ISA", std::string(CpuIsaName(isa)).c_str());
    EXPECT_EQ(DetectCpuIsa(), isa);
    EXPECT_EQ(AvailableCpuIsas().back(), isa);
  }
  EXPECT_EQ(DetectCpuIsa(), before);
}

TEST(CpuIsaTest, CapsOfTheTestRunHold) {
  if (const char* cap = std::getenv("KVFOLD_MAX_CPU_ISA")) {
    if (std::string(cap) == "generic") {
      EXPECT_EQ(DetectCpuIsa(), CpuIsa::kGeneric);
    }
    if (std::string(cap) == "avx2") {
      EXPECT_LE(DetectCpuIsa(), CpuIsa::kAvx2);
    }
    if (std::string(cap) == "avx512") {
      EXPECT_LE(DetectCpuIsa(), CpuIsa::kAvx512);
    }
  }
  if (const char* cap = std::getenv("ONEDNN_MAX_CPU_ISA")) {
    if (std::string(cap) == "SSE41") {
      EXPECT_EQ(DetectCpuIsa(), CpuIsa::kGeneric);
    }
    if (std::string(cap) == "AVX2") {
      EXPECT_LE(DetectCpuIsa(), CpuIsa::kAvx2);
    }
    if (std::string(cap) == "AVX512_CORE") {
      EXPECT_LE(DetectCpuIsa(), CpuIsa::kAvx512);
    }
  }
}

TEST(CpuIsaTest, RefusesAnUnknownCapByName) {
  const ScopedVariable cap("KVFOLD_MAX_CPU_ISA", "avx9000");
  try {
    DetectCpuIsa();
    FAIL() << "took avx9000";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("KVFOLD_MAX_CPU_ISA is \"avx9000\""));
    EXPECT_THAT(error.what(), testing::HasSubstr("avx512_bf16 or amx_bf16"));
  }
}

TEST(CpuIsaTest, RefusesBf16WhereTheProcessorHasNone) {
  CpuDevice device(1);
  for (const CpuIsa isa : AvailableCpuIsas()) {
    if (isa >= CpuIsa::kAvx512Bf16) {
      EXPECT_EQ(MakeCpuKernels(device, DType::kBF16, isa)->activation_dtype(), DType::kBF16);
    } else {
      EXPECT_THROW(MakeCpuKernels(device, DType::kBF16, isa), InputError) << CpuIsaName(isa);
    }
    EXPECT_EQ(MakeCpuKernels(device, DType::kF32, isa)->activation_dtype(), DType::kF32);
  }
}

}  // namespace
}  // namespace kvfold
