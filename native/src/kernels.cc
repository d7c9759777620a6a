// Compiled once for each instruction set, JAXCONV_ISA, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "kernels.h"

#include "depthwise.h"
#include "line.h"
#include "plane.h"
#include "stem.h"
#include "vector.h"

#define JAXCONV_TEXT(name) #name
#define JAXCONV_NAME(name) JAXCONV_TEXT(name)

namespace jaxconv::JAXCONV_ISA {

const Kernels kKernels = {
    JAXCONV_NAME(JAXCONV_ISA),
    kLanes,
    {DepthwiseOutputScratch, DepthwiseInputScratch, DepthwiseKernelScratch, DepthwiseOutput,
     DepthwiseInput, DepthwiseKernel},
    {PlaneOutputScratch, PlaneInputScratch, PlaneKernelScratch, PlaneOutput, PlaneInput,
     PlaneKernel},
    {StemOutputScratch, nullptr, StemKernelScratch, StemOutput, nullptr, StemKernel},
    LineServes,
    LineKernelServes,
};

}  // namespace jaxconv::JAXCONV_ISA
