// Compiled for AVX2, and called only where the CPU has it: so nothing from the standard library may
// be instantiated here.
#include "integer_layer.h"

#include <immintrin.h>

#include "team.h"
#include "vector.h"

namespace jaxconv::avx2 {
namespace {

// Two neighbouring elements of x are multiplied with two of w, and the products added, in one
// instruction (vpmaddwd): 8 outputs a vector, each a sum over pairs.
constexpr int64_t kOutputs = 8;
// Vectors of outputs in a block, and results that are made at once: their sums, the entries of the
// kernel and a pair of x fill 16 registers.
constexpr int64_t kWidth = 2;
constexpr int kTogether = 6;
constexpr int64_t kBlock = kWidth * kOutputs;
// int16 of the packed kernel for a pair of elements and a block of outputs.
constexpr int64_t kPacked = 2 * kBlock;
// Results that are made by one task.
constexpr int64_t kResults = 20 * kTogether;

// The part of x that is read, with its padding: a copy in int16.
struct Read {
  int64_t size[3], channels;

  static Read Of(const IntegerLayer& s) {
    Read read{{}, s.inputs * s.groups};
    for (int d = 0; d < 3; ++d)
      read.size[d] = (s.out[d] - 1) * s.stride[d] + (s.kernel[d] - 1) * s.dilation[d] + 1;
    return read;
  }

  // Offset of a position's first element.
  int64_t At(int64_t a, int64_t b, int64_t c) const {
    return ((a * size[1] + b) * size[2] + c) * channels;
  }

  // With one element behind the last: elements are read by twos.
  int64_t Bytes(const IntegerLayer& s) const {
    return CeilDiv((s.n * At(size[0], 0, 0) + 1) * 2, 64) * 64;
  }
};

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

__m128i Bytes(const int8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
__m256i Load(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
void Store(int16_t* p, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

__m256i Widened(const int8_t* p) { return _mm256_cvtepi8_epi16(Bytes(p)); }
__m256i Widened(const uint8_t* p) {
  return _mm256_cvtepu8_epi16(Bytes(reinterpret_cast<const int8_t*>(p)));
}
__m256i Widened(const int16_t* p) { return Load(p); }

// Rows of x, one after the other, each with what is outside.
template <typename Element>
void Copy(const IntegerLayer& s, const Read& read, const Element* x, int16_t* copy,
          const Member& member) {
  const int64_t rows = s.n * read.size[0] * read.size[1], length = read.At(0, 1, 0);
  const int64_t from = Max(0, Min(read.size[2], s.before[2]));
  const int64_t to = Max(from, Min(read.size[2], s.in[2] + s.before[2]));
  for (int64_t row = member.First(rows); row < member.Last(rows); ++row) {
    int16_t* const made = copy + row * length;
    const int64_t b = row % read.size[1] - s.before[1];
    const int64_t a = row / read.size[1] % read.size[0] - s.before[0];
    const int64_t n = row / read.size[1] / read.size[0];
    const bool inside = a >= 0 && a < s.in[0] && b >= 0 && b < s.in[1];
    const int64_t first = inside ? from * read.channels : length;
    const int64_t last = inside ? to * read.channels : length;
    const Element* const source =
        x + (((n * s.in[0] + a) * s.in[1] + b) * s.in[2] - s.before[2]) * read.channels;
    for (int64_t i = 0; i < first; ++i) made[i] = 0;
    int64_t i = first;
    for (; i + 16 <= last; i += 16) Store(made + i, Widened(source + i));
    for (; i < last; ++i) made[i] = source[i];
    for (; i < length; ++i) made[i] = 0;
  }
  if (member.thread == 0) copy[rows * length] = 0;
}

// A block's entries of two neighbouring elements, output by output.
void PackBlock(const int8_t* first, const int8_t* second, int16_t* packed) {
  const __m128i a = Bytes(first), b = Bytes(second);
  Store(packed, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)));
  Store(packed + 16, _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b)));
}
void PackBlock(const uint8_t* first, const uint8_t* second, int16_t* packed) {
  const __m128i a = Bytes(reinterpret_cast<const int8_t*>(first));
  const __m128i b = Bytes(reinterpret_cast<const int8_t*>(second));
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
// What is behind the last of a run or of a group's outputs is zero.
template <typename Entry>
void Pack(const IntegerLayer& s, const Runs& runs, const Entry* w, int16_t* packed,
          const Member& member) {
  const int64_t blocks = CeilDiv(s.outputs, kBlock), of_all = s.outputs * s.groups;
  const int64_t pairs = runs.count * runs.pairs();
  for (int64_t pair = member.First(pairs); pair < member.Last(pairs); ++pair) {
    const int64_t run = pair / runs.pairs(), element = 2 * (pair % runs.pairs());
    const Entry* first = w + (run * runs.length + element) * of_all;
    const bool single = element + 1 == runs.length;
    for (int64_t g = 0; g < s.groups; ++g) {
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t o = g * s.outputs + b * kBlock, count = Min(kBlock, s.outputs - b * kBlock);
        int16_t* to = packed + ((g * blocks + b) * pairs + pair) * kPacked;
        if (count == kBlock && !single) {
          PackBlock(first + o, first + of_all + o, to);
          continue;
        }
        for (int64_t i = 0; i < kBlock; ++i) {
          to[2 * i] = i < count ? first[o + i] : 0;
          to[2 * i + 1] = i < count && !single ? first[of_all + o + i] : 0;
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

// Results [first, last) in the outputs of a block of a group.
template <int width, bool full>
__attribute__((noinline)) void MakeBlock(const IntegerLayer& s, const Read& read,
                                         const Runs& runs, const int64_t* offsets, const int16_t* x,
                                         const int16_t* w, int64_t first, int64_t last,
                                         int64_t outputs, int32_t* y) {
  constexpr int together = width == 1 ? 2 * kTogether - 2 : kTogether;
  __m256i masks[width];
  for (int v = 0; v < width; ++v)
    masks[v] = reinterpret_cast<__m256i>(LanesBetween(0, Max(0, Min(kOutputs, outputs - v * kOutputs))));
  const int64_t pitch = s.outputs * s.groups;
  Place place = Place::Of(s, first);
  for (int64_t t = first; t < last; t += together) {
    const int16_t* sources[together];
    const int64_t count = Min(together, last - t);
    for (int u = 0; u < together; ++u) {
      // those behind the last repeat it, and are not stored
      sources[u] = u < count ? x + place.Source(s, read) : sources[count - 1];
      if (u < count) place.Advance(s);
    }
    if (count > together / 2)
      Make<width, together, full>(runs, offsets, sources, w, count, masks, y + t * pitch, pitch);
    else
      Make<width, together / 2, full>(runs, offsets, sources, w, count, masks, y + t * pitch, pitch);
  }
}

}  // namespace

int64_t IntegerScratch(const IntegerLayer& s) {
  const Runs runs = Runs::Of(s);
  const int64_t packed = s.groups * CeilDiv(s.outputs, kBlock) * runs.packed() * 2;
  return OffsetBytes(runs) + packed + Read::Of(s).Bytes(s);
}

void IntegerOutput(const IntegerLayer& s, IntegerArray x, IntegerArray w, int32_t* y, void* scratch,
                   int64_t threads) {
  const Runs runs = Runs::Of(s);
  const Read read = Read::Of(s);
  int64_t* const offsets = static_cast<int64_t*>(scratch);
  int16_t* const copy = reinterpret_cast<int16_t*>(static_cast<char*>(scratch) + OffsetBytes(runs));
  int16_t* const packed = copy + read.Bytes(s) / 2;
  runs.FindOffsets(s, read, offsets);
  const int64_t results = s.n * s.out[0] * s.out[1] * s.out[2];
  const int64_t blocks = CeilDiv(s.outputs, kBlock), chunks = CeilDiv(results, kResults);
  Tasks tasks;
  OnTeam(threads, [&](const Member& member) {
    WithType(x, [&](const auto* elements) { Copy(s, read, elements, copy, member); });
    WithType(w, [&](const auto* entries) { Pack(s, runs, entries, packed, member); });
    member.Barrier();
    // one block after the other: its entries stay in the cache
    for (int64_t task; (task = tasks.Take()) < s.groups * blocks * chunks;) {
      const int64_t block = task / chunks, g = block / blocks, b = block % blocks;
      const int64_t first = task % chunks * kResults, last = Min(results, first + kResults);
      const int64_t outputs = Min(kBlock, s.outputs - b * kBlock);
      const auto make = outputs == kBlock    ? MakeBlock<kWidth, true>
                        : outputs > kOutputs ? MakeBlock<kWidth, false>
                        : outputs == kOutputs ? MakeBlock<1, true>
                                              : MakeBlock<1, false>;
      make(s, read, runs, offsets, copy + g * s.inputs, packed + block * runs.packed(), first, last,
           outputs, y + g * s.outputs + b * kBlock);
    }
  });
}

}  // namespace jaxconv::avx2
