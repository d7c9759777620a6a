// Compiled for AVX2, and called only where the CPU has it: so nothing from the standard library may
// be instantiated here.
#include "integer_layer.h"

#include <immintrin.h>

#include "integer_copy.h"
#include "integer_results.h"
#include "team.h"
#include "vector.h"

namespace jaxconv::avx2 {
namespace {

// Two neighbouring elements of x are multiplied with two of w, and the products added, in one
// instruction (vpmaddwd): 8 outputs a vector, each a sum over pairs.

// Vectors of outputs in a block, and results that are made at once: their sums, the entries of the
// kernel and a pair of x fill 16 registers.
constexpr int64_t kWidth = kBlock / kOutputs;
constexpr int kTogether = 6;
// int16 of the packed kernel for a pair of elements and a block of outputs.
constexpr int64_t kPacked = 2 * kBlock;
// Pairs of all blocks that are packed together.
constexpr int64_t kPairs = 16;
// Results that are made by one task; with channels first, whole vectors of bytes.
constexpr int64_t kResults = 20 * kTogether;
constexpr int64_t kTurned = 16 * kTogether;

// Elements of x that lie side by side and are read together, and the offsets of as many of them as
// make an output: a row of the kernel, or one of its entries where channels of other groups or
// elements left out by a dilation lie between.
struct Runs {
  int64_t count, length;

  static Runs Of(const IntegerLayer& s) {
    const bool joined = s.groups == 1 && s.dilation[2] == 1;
    const int64_t rows = s.kernel[0] * s.kernel[1];
    return joined ? Runs{rows, s.kernel[2] * s.inputs} : Runs{rows * s.kernel[2], s.inputs};
  }

  int64_t pairs() const { return CeilDiv(length, 2); }
  // int16 of the packed kernel for a block of outputs.
  int64_t packed() const { return count * pairs() * kPacked; }

  void FindOffsets(const IntegerLayer& s, const Read& read, int64_t* offsets) const {
    const int64_t entries = count / (s.kernel[0] * s.kernel[1]);
    for (int64_t a = 0; a < s.kernel[0]; ++a)
      for (int64_t b = 0; b < s.kernel[1]; ++b)
        for (int64_t c = 0; c < entries; ++c)
          *offsets++ = read.At(a * s.dilation[0], b * s.dilation[1], c * s.dilation[2]);
  }
};

int64_t OffsetBytes(const Runs& runs) { return CeilDiv(runs.count * 8, 64) * 64; }

// A block's entries of two neighbouring elements, output by output.
void PackBlock(const int8_t* first, const int8_t* second, int16_t* packed) {
  const __m128i a = Bytes(first), b = Bytes(second);
  Store(packed, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)));
  Store(packed + 16, _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b)));
}
void PackBlock(const uint8_t* first, const uint8_t* second, int16_t* packed) {
  const __m128i a = Bytes(first), b = Bytes(second);
  Store(packed, _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b)));
  Store(packed + 16, _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b)));
}
void PackBlock(const int16_t* first, const int16_t* second, int16_t* packed) {
  const __m256i a = Load(first), b = Load(second);
  const __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
  Store(packed, _mm256_permute2x128_si256(low, high, 0x20));
  Store(packed + 16, _mm256_permute2x128_si256(low, high, 0x31));
}

// The entries of the kernel: for each group, block of outputs, run and pair, two for each output.
// What is behind the last of a run or of a group's outputs is zero. Some pairs at a time, so that
// neighbours are written one after the other.
template <typename Entry>
void Pack(const IntegerLayer& s, const Runs& runs, const Entry* w, int16_t* packed,
          const Member& member) {
  const int64_t blocks = CeilDiv(s.outputs, kBlock), of_all = s.outputs * s.groups;
  const int64_t pairs = runs.count * runs.pairs(), last = member.Last(pairs);
  for (int64_t from = member.First(pairs); from < last; from += kPairs) {
    for (int64_t block = 0; block < s.groups * blocks; ++block) {
      const int64_t b = block % blocks, o = block / blocks * s.outputs + b * kBlock;
      const int64_t count = Min(kBlock, s.outputs - b * kBlock);
      int16_t* to = packed + (block * pairs + from) * kPacked;
      int64_t run = from / runs.pairs(), element = 2 * (from % runs.pairs());
      for (int64_t pair = from; pair < Min(last, from + kPairs); ++pair, to += kPacked) {
        const Entry* const first = w + (run * runs.length + element) * of_all + o;
        const bool single = element + 1 == runs.length;
        if ((element += 2) >= runs.length) element = 0, ++run;
        if (count == kBlock && !single) {
          PackBlock(first, first + of_all, to);
          continue;
        }
        for (int64_t i = 0; i < kBlock; ++i) {
          to[2 * i] = i < count ? first[i] : 0;
          to[2 * i + 1] = i < count && !single ? first[of_all + i] : 0;
        }
      }
    }
  }
}

// Calls `work` with a pointer of the array's type.
template <typename Work>
void WithType(IntegerArray array, const Work& work) {
  switch (array.type) {
    case IntegerType::kInt8:
      return work(static_cast<const int8_t*>(array.data));
    case IntegerType::kUint8:
      return work(static_cast<const uint8_t*>(array.data));
    case IntegerType::kInt16:
      return work(static_cast<const int16_t*>(array.data));
    case IntegerType::kInt32:
      return;  // no operand is
  }
}

// The place of a result in its image, and where what it reads begins.
struct Place {
  int64_t n, t0, t1, t2;

  static Place Of(const IntegerLayer& s, int64_t result) {
    const int64_t row = result / s.out[2], plane = row / s.out[1];
    return {plane / s.out[0], plane % s.out[0], row % s.out[1], result % s.out[2]};
  }

  int64_t Source(const IntegerLayer& s, const Read& read) const {
    return read.At(n * read.size[0] + t0 * s.stride[0], t1 * s.stride[1], t2 * s.stride[2]);
  }

  void Advance(const IntegerLayer& s) {
    if (++t2 < s.out[2]) return;
    t2 = 0;
    if (++t1 < s.out[1]) return;
    t1 = 0;
    if (++t0 < s.out[0]) return;
    t0 = 0;
    ++n;
  }
};

// `count` results at once, at most `together`, in a block of outputs.
template <int width, int together, bool full>
JAXCONV_INLINE void Make(const Runs& runs, const int64_t* offsets, const int16_t* const* sources,
                         const int16_t* w, int64_t count, const __m256i* masks, int32_t* y,
                         int64_t pitch) {
  __m256i sums[together][width];
  const char* at[together];
  JAXCONV_UNROLL for (int u = 0; u < together; ++u) {
    at[u] = reinterpret_cast<const char*>(sources[u]);
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) sums[u][v] = _mm256_setzero_si256();
  }
  const int64_t bytes = runs.pairs() * 4;
  for (int64_t run = 0; run < runs.count; ++run) {
    const int64_t first = offsets[run] * 2;
    for (int64_t i = first; i < first + bytes; i += 4, w += kPacked) {
      __m256i entry[width];
      JAXCONV_UNROLL for (int v = 0; v < width; ++v) entry[v] = Load(w + v * 16);
      JAXCONV_UNROLL for (int u = 0; u < together; ++u) {
        int32_t pair;
        __builtin_memcpy(&pair, at[u] + i, 4);
        const __m256i value = _mm256_set1_epi32(pair);
        JAXCONV_UNROLL for (int v = 0; v < width; ++v)
          sums[u][v] = _mm256_add_epi32(sums[u][v], _mm256_madd_epi16(value, entry[v]));
      }
    }
  }
  JAXCONV_UNROLL for (int u = 0; u < together; ++u) {
    if (u >= count) break;
    JAXCONV_UNROLL for (int v = 0; v < width; ++v) {
      int32_t* const to = y + u * pitch + v * kOutputs;
      if (full)  // storing by a mask takes as long as dozens of products
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sums[u][v]);
      else
        _mm256_maskstore_epi32(to, masks[v], sums[u][v]);
    }
  }
}

// Results [first, last) in the outputs of a block of a group, from `y` on with `pitch` between them.
template <int width, bool full>
__attribute__((noinline)) void MakeBlock(const IntegerLayer& s, const Read& read,
                                         const Runs& runs, const int64_t* offsets, const int16_t* x,
                                         const int16_t* w, int64_t first, int64_t last,
                                         int64_t outputs, int32_t* y, int64_t pitch) {
  constexpr int together = width == 1 ? 2 * kTogether - 2 : kTogether;
  __m256i masks[width];
  for (int v = 0; v < width; ++v)
    masks[v] = reinterpret_cast<__m256i>(LanesBetween(0, Max(0, Min(kOutputs, outputs - v * kOutputs))));
  Place place = Place::Of(s, first);
  for (int64_t t = first; t < last; t += together, y += together * pitch) {
    const int16_t* sources[together];
    const int64_t count = Min(together, last - t);
    for (int u = 0; u < together; ++u) {
      // those behind the last repeat it, and are not stored
      sources[u] = u < count ? x + place.Source(s, read) : sources[count - 1];
      if (u < count) place.Advance(s);
    }
    if (count > together / 2)
      Make<width, together, full>(runs, offsets, sources, w, count, masks, y, pitch);
    else
      Make<width, together / 2, full>(runs, offsets, sources, w, count, masks, y, pitch);
  }
}

// A convolution, with what it needs in scratch memory.
struct Layer {
  const IntegerLayer& s;
  const Runs runs;
  const Read read;
  int64_t* const offsets;
  int16_t* const copy;
  int16_t* const packed;

  static Layer Of(const IntegerLayer& s, void* scratch) {
    const Runs runs = Runs::Of(s);
    const Read read = Read::Of(s);
    int64_t* const offsets = static_cast<int64_t*>(scratch);
    int16_t* const copy =
        reinterpret_cast<int16_t*>(static_cast<char*>(scratch) + OffsetBytes(runs));
    runs.FindOffsets(s, read, offsets);
    return {s, runs, read, offsets, copy, copy + read.Bytes(s) / 2};
  }

  int64_t blocks() const { return CeilDiv(s.outputs, kBlock); }

  // Calls copying(member), which makes the copy of x, and then work(task) for each task: up to
  // `results` results in a block of outputs of a group.
  template <typename Copying, typename Work>
  void Run(IntegerArray w, int64_t threads, int64_t results, const Copying& copying,
           const Work& work) const {
    const int64_t chunks = CeilDiv(s.results(), results);
    Tasks tasks;
    OnTeam(threads, [&](const Member& member) {
      copying(member);
      WithType(w, [&](const auto* entries) { Pack(s, runs, entries, packed, member); });
      member.Barrier();
      // one block after the other: its entries stay in the cache
      for (int64_t task; (task = tasks.Take()) < s.groups * blocks() * chunks;) {
        const int64_t block = task / chunks, first = task % chunks * results;
        work(block / blocks(), block % blocks(), first, Min(s.results(), first + results));
      }
    });
  }

  template <int width, bool full>
  void Make(int64_t g, int64_t b, int64_t first, int64_t last, int32_t* y, int64_t pitch) const {
    MakeBlock<width, full>(s, read, runs, offsets, copy + g * s.inputs,
                           packed + (g * blocks() + b) * runs.packed(), first, last,
                           s.outputs - b * kBlock, y, pitch);
  }
};

}  // namespace

int64_t IntegerScratch(const IntegerLayer& s) {
  const Runs runs = Runs::Of(s);
  const int64_t packed = s.groups * CeilDiv(s.outputs, kBlock) * runs.packed() * 2;
  return OffsetBytes(runs) + packed + Read::Of(s).Bytes(s);
}

void IntegerOutput(const IntegerLayer& s, IntegerArray x, IntegerArray w, int32_t* y, void* scratch,
                   int64_t threads) {
  const Layer layer = Layer::Of(s, scratch);
  const auto copying = [&](const Member& member) {
    WithType(x, [&](const auto* elements) { Copy(s, layer.read, elements, layer.copy, member); });
  };
  const int64_t pitch = s.outputs * s.groups;
  layer.Run(w, threads, kResults, copying, [&](int64_t g, int64_t b, int64_t first, int64_t last) {
    int32_t* const to = y + first * pitch + g * s.outputs + b * kBlock;
    const int64_t outputs = s.outputs - b * kBlock;
    if (outputs >= kBlock)
      layer.Make<kWidth, true>(g, b, first, last, to, pitch);
    else if (outputs > kOutputs)
      layer.Make<kWidth, false>(g, b, first, last, to, pitch);
    else if (outputs == kOutputs)
      layer.Make<1, true>(g, b, first, last, to, pitch);
    else
      layer.Make<1, false>(g, b, first, last, to, pitch);
  });
}

void QuantizedOutput(const IntegerLayer& s, IntegerArray x, int32_t x_zero, IntegerArray w,
                     const QuantizedResult& y, void* scratch, int64_t threads) {
  const Layer layer = Layer::Of(s, scratch);
  const auto copying = [&](const Member& member) {
    if (x.type == IntegerType::kInt8)
      CopyChannelsFirst(s, layer.read, static_cast<const int8_t*>(x.data), x_zero, layer.copy, member);
    else
      CopyChannelsFirst(s, layer.read, static_cast<const uint8_t*>(x.data), x_zero, layer.copy, member);
  };
  layer.Run(w, threads, kTurned, copying, [&](int64_t g, int64_t b, int64_t first, int64_t last) {
    alignas(64) int32_t sums[kTurned * kBlock];
    const int64_t outputs = Min(kBlock, s.outputs - b * kBlock);
    // what is behind the outputs is stored as well: there the packed kernel is zero
    if (outputs > kOutputs)
      layer.Make<kWidth, true>(g, b, first, last, sums, kBlock);
    else
      layer.Make<1, true>(g, b, first, last, sums, kBlock);
    Put(s, {sums, first, last - first, g * s.outputs + b * kBlock, outputs}, y);
  });
}

}  // namespace jaxconv::avx2
