# The plugin's own kernels, and how they are compiled: for the plugin, and for tests/arm.

set(KERNELS
  depthwise_kernel.cc
  depthwise_layer.cc
  kernels.cc
  line.cc
  line_kernel.cc
  line_layer.cc
  plane_kernel.cc
  plane_layer.cc
  stem_kernel.cc
  stem_layer.cc)
list(TRANSFORM KERNELS PREPEND ${CMAKE_CURRENT_LIST_DIR}/src/)
# predictive commoning carries what one turn of a loop has read to the next, in registers that the
# sums need
set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/src/line.cc
  PROPERTIES COMPILE_OPTIONS $<$<CXX_COMPILER_ID:GNU>:-fno-predictive-commoning>)
# instrumented and unrolled as well, the kernels take minutes to compile
set(KERNEL_LEVEL -O3)
if(JAXCONV_SANITIZE)
  set(KERNEL_LEVEL -O1)
endif()

set(FLAGS_avx2 -mavx2 -mfma)
set(FLAGS_avx512f -mavx512f -mfma)
# NEON is a part of aarch64. There GCC schedules before it assigns registers, too: it would load so
# early that sums no longer fit into registers.
set(FLAGS_neon $<$<CXX_COMPILER_ID:GNU>:-fno-schedule-insns>)

# Those that only AVX2 has; CPUs with AVX-512 have it too.
set(KERNELS_avx2 ${CMAKE_CURRENT_LIST_DIR}/src/integer_layer.cc)

# How all of the code is compiled.
function(set_up TARGET)
  set_target_properties(${TARGET} PROPERTIES
    POSITION_INDEPENDENT_CODE ON
    CXX_STANDARD 17
    CXX_STANDARD_REQUIRED ON
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  target_compile_options(${TARGET} PRIVATE -Wall -Wextra -Wno-unused-parameter)
  if(JAXCONV_SANITIZE)
    target_compile_options(${TARGET} PRIVATE -fsanitize=address,undefined -fno-omit-frame-pointer -g)
  endif()
endfunction()

# The kernels for an instruction set, as the library kernels_${ISA}.
function(add_kernels ISA)
  add_library(kernels_${ISA} OBJECT ${KERNELS} ${KERNELS_${ISA}})
  target_compile_definitions(kernels_${ISA} PRIVATE JAXCONV_ISA=${ISA})
  target_compile_options(
    kernels_${ISA} PRIVATE ${KERNEL_LEVEL} ${FLAGS_${ISA}} -ffp-contract=fast)
  set_up(kernels_${ISA})
endfunction()
