// Compiled once for each instruction set, JAXCONV_ISA, and called only where the CPU has it: so
// nothing from the standard library may be instantiated here.
#include "axes.h"
#include "columns.h"
#include "line.h"
#include "plane.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// Rows of results that are made together, since they read the same rows: as many as there are
// registers for beside what is read, and at most as many as the kernel has rows.
constexpr int kMostRows = 6;
// Vectors of a row that are made together, since they need the same entries of the kernel: as many
// as there are registers for.
constexpr int kWidest = 8;
constexpr int WideOf(int rows) {
  return rows == 1 ? kWidest
                   : ByRegisters(rows == 2 ? kWidest : 4, rows == 2 ? 4 : rows <= 4 ? 3 : 2);
}

// The results along the last dimension for which every entry of the kernel reads something.
struct Inner {
  int64_t first, last;
};

Inner InnerOf(const Axis& axis, const Column* columns) {
  Inner inner{0, axis.count};
  for (int64_t k = 0; k < axis.entries; ++k) {
    inner.first = Max(inner.first, -columns[k].shift);
    inner.last = Min(inner.last, columns[k].length - columns[k].shift);
  }
  return inner;
}

// Results of one kind: they are made by the same entries. An entry is one number, or `period`
// vectors of the numbers for the elements of a row, vector by vector.
struct Sheet {
  const Depthwise& d;
  Axis axes[3];
  const int64_t *source_size, *result_size;
  const float *source, *w;
  int64_t period, source_pitch;
  const Column* columns;
  Inner inner;
  float* result;
};

// The rows first, first + dilation, ... of a plane of results, from column t on.
struct Place {
  int64_t n, depth, row, t;
};

template <int rows, int wide>
using Sums = Vector[rows][wide];

// Floats of a row of entries.
template <bool several>
JAXCONV_INLINE int64_t RowOfEntries(const Sheet& s) {
  return s.axes[2].entries * (several ? s.period * kLanes : 1);
}

// Columns t to t + wide * kLanes of rows; of several channels, with where in an entry the vectors
// are that fall on them.
template <int wide, bool several>
struct Columns {
  int64_t t;
  const LaneMask* masks;
  int64_t places[several ? wide : 1];

  Columns(const Sheet& s, int64_t t, const LaneMask* masks) : t(t), masks(masks) {
    if (!several) return;
    JAXCONV_UNROLL for (int v = 0; v < wide; ++v) places[v] = (t / kLanes + v) % s.period * kLanes;
  }
};

// Adds what one row of the source gives to the rows of results from `from` to `to`; w is the row
// of entries for row 0, the ones for the next come before.
template <int from, int to, int rows, int wide, bool edge, bool several>
JAXCONV_INLINE void AddRow(const Sheet& s, Sums<rows, wide>& sums, const float* source,
                           const float* w, const Columns<wide, several>& columns) {
  const int64_t entries = s.axes[2].entries, row = RowOfEntries<several>(s);
  const int64_t size = several ? s.period * kLanes : 1;
  for (int64_t k = 0; k < entries; ++k) {
    const float* at = source + s.columns[k].offset + columns.t;
    Vector values[wide];
    JAXCONV_UNROLL for (int v = 0; v < wide; ++v) {
      values[v] = edge ? LoadVector(columns.masks[k * wide + v], at + v * kLanes)
                       : LoadVector(at + v * kLanes);
    }
    JAXCONV_UNROLL for (int r = from; r <= to; ++r) {
      const float* numbers = w + k * size - r * row;
      if (several) {
        JAXCONV_UNROLL for (int v = 0; v < wide; ++v) {
          const Vector entry = LoadVector(numbers + columns.places[v]);
          sums[r][v] = MultiplyAdd(values[v], entry, sums[r][v]);
        }
        continue;
      }
      const Vector entry = Repeat(*numbers);
      JAXCONV_UNROLL for (int v = 0; v < wide; ++v)
        sums[r][v] = MultiplyAdd(values[v], entry, sums[r][v]);
    }
  }
}

// A plane of the source, and what of the kernel falls on it.
struct Layer {
  const float *plane, *w;
  int64_t row;  // where the first row of entries reads for the first row of results
};

inline const float* SourceRow(const Sheet& s, const Layer& layer, int64_t q) {
  const int64_t row = layer.row + q * s.axes[1].dilation;
  return row < 0 || row >= s.source_size[1] ? nullptr : layer.plane + row * s.source_pitch;
}

// The first rows of the source are read by the first rows of results alone ...
template <int q, int rows, int wide, bool edge, bool several>
JAXCONV_INLINE void AddFirst(const Sheet& s, Sums<rows, wide>& sums, const Layer& layer,
                             const Columns<wide, several>& columns) {
  if constexpr (q < rows - 1) {
    if (const float* at = SourceRow(s, layer, q)) {
      const float* w = layer.w + q * RowOfEntries<several>(s);
      AddRow<0, q, rows, wide, edge, several>(s, sums, at, w, columns);
    }
    AddFirst<q + 1, rows, wide, edge, several>(s, sums, layer, columns);
  }
}

// ... and the last ones by the last.
template <int q, int rows, int wide, bool edge, bool several>
JAXCONV_INLINE void AddLast(const Sheet& s, Sums<rows, wide>& sums, const Layer& layer,
                            const Columns<wide, several>& columns) {
  if constexpr (q < rows - 1) {
    const int64_t row = s.axes[1].entries + q;
    if (const float* at = SourceRow(s, layer, row)) {
      const float* w = layer.w + row * RowOfEntries<several>(s);
      AddRow<q + 1, rows - 1, rows, wide, edge, several>(s, sums, at, w, columns);
    }
    AddLast<q + 1, rows, wide, edge, several>(s, sums, layer, columns);
  }
}

template <int wide, bool edge>
JAXCONV_INLINE void Store(const Sheet& s, float* row, int64_t t, const Vector (&sums)[wide]) {
  const Axis& axis = s.axes[2];
  JAXCONV_UNROLL for (int v = 0; v < wide; ++v) {
    const int64_t first = t + v * kLanes;
    if (axis.step == 1) {
      if (edge)
        StoreVector(Upto(first, axis.count), row + first, sums[v]);
      else
        StoreVector(row + first, sums[v]);
      continue;
    }
    float values[kLanes];
    StoreVector(values, sums[v]);
    float* to = row + axis.first + first * axis.step;
    for (int64_t i = 0; i < Min(kLanes, axis.count - first); ++i) to[i * axis.step] = values[i];
  }
}

template <int rows, int wide, bool edge, bool several>
void Tile(const Sheet& s, const Place& place, LaneMask* masks) {
  const Axis &depth = s.axes[0], &row = s.axes[1];
  const int64_t t = place.t;
  if (edge) {
    for (int64_t k = 0; k < s.axes[2].entries; ++k) {
      JAXCONV_UNROLL for (int v = 0; v < wide; ++v) {
        masks[k * wide + v] =
            s.columns[k].Mask(t + v * kLanes) & Upto(t + v * kLanes, s.axes[2].count);
      }
    }
  }
  const Columns<wide, several> columns(s, t, masks);
  Sums<rows, wide> sums;
  JAXCONV_UNROLL for (int r = 0; r < rows; ++r) {
    JAXCONV_UNROLL for (int v = 0; v < wide; ++v) sums[r][v] = Zero();
  }
  for (int64_t k = 0; k < depth.entries; ++k) {
    const int64_t at = place.depth * depth.move + k * depth.dilation + depth.start;
    if (at < 0 || at >= s.source_size[0]) continue;
    const Layer layer{
        s.source + (place.n * s.source_size[0] + at) * s.source_size[1] * s.source_pitch,
        s.w + k * row.entries * RowOfEntries<several>(s), place.row * row.move + row.start};
    AddFirst<0, rows, wide, edge, several>(s, sums, layer, columns);
    for (int64_t q = rows - 1; q < row.entries; ++q) {
      if (const float* source = SourceRow(s, layer, q)) {
        const float* w = layer.w + q * RowOfEntries<several>(s);
        AddRow<0, rows - 1, rows, wide, edge, several>(s, sums, source, w, columns);
      }
    }
    AddLast<0, rows, wide, edge, several>(s, sums, layer, columns);
  }
  const int64_t results = (place.n * s.result_size[0] + depth.first + place.depth * depth.step);
  JAXCONV_UNROLL for (int r = 0; r < rows; ++r) {
    const int64_t m = place.row + r * row.dilation;
    if (r > 0 && m >= row.count) break;
    const int64_t to = results * s.result_size[1] + row.first + m * row.step;
    Store<wide, edge>(s, s.result + to * s.result_size[2], t, sums[r]);
  }
}

// Columns from place.t to `last` of some rows.
template <int rows, bool several>
void Strip(const Sheet& s, Place place, int64_t last, LaneMask* masks) {
  while (place.t < last) {
    const int64_t left = last - place.t;
    if (left <= kLanes) {
      Tile<rows, 1, true, several>(s, place, masks);
      place.t += kLanes;
      continue;
    }
    constexpr int most = WideOf(rows);
    if (most > 2 && left <= 2 * kLanes) {
      Tile<rows, 2, true, several>(s, place, masks);
      place.t += 2 * kLanes;
      continue;
    }
    if (most > 4 && left <= 4 * kLanes) {
      Tile<rows, 4, true, several>(s, place, masks);
      place.t += 4 * kLanes;
      continue;
    }
    if (place.t >= s.inner.first && place.t + most * kLanes <= s.inner.last)
      Tile<rows, most, false, several>(s, place, masks);
    else
      Tile<rows, most, true, several>(s, place, masks);
    place.t += most * kLanes;
  }
}

template <bool several>
void StripOf(int64_t rows, const Sheet& s, const Place& place, int64_t last, LaneMask* masks) {
  switch (rows) {
    case 1:
      return Strip<1, several>(s, place, last, masks);
    case 2:
      return Strip<2, several>(s, place, last, masks);
    case 3:
      return Strip<3, several>(s, place, last, masks);
    case 4:
      return Strip<4, several>(s, place, last, masks);
    case 5:
      return Strip<5, several>(s, place, last, masks);
    default:
      return Strip<kMostRows, several>(s, place, last, masks);
  }
}

// Columns that are one task, where there are few rows.
constexpr int64_t kChunk = 8 * kWidest * kLanes;

// For all threads of a team of `threads`, or fewer, which take the tasks as they come.
void Fill(const Sheet& s, int64_t threads, LaneMask* masks, Tasks* tasks) {
  const Axis& row = s.axes[1];
  const bool shares = row.move == 1;
  const int64_t gap = shares ? row.dilation : 1;
  const int64_t rows =
      shares ? Max(1, Min(Min(kMostRows, row.entries), CeilDiv(row.count, gap))) : 1;
  const int64_t blocks = CeilDiv(row.count, rows * gap) * gap;
  const int64_t strips = s.d.n * s.axes[0].count * blocks;
  const int64_t width = s.axes[2].count;
  const int64_t chunk = strips >= 8 * threads ? Max(1, width) : kChunk;
  const int64_t chunks = CeilDiv(width, chunk), units = strips * chunks;
  const int64_t parts = threads == 1 ? 1 : Min(units, 8 * threads);
  for (int64_t part; (part = tasks->Take()) < parts;) {
    for (int64_t unit = part * units / parts; unit < (part + 1) * units / parts; ++unit) {
      const int64_t strip = unit / chunks, first = unit % chunks * chunk, block = strip % blocks;
      const int64_t at = block / gap * rows * gap + block % gap;
      if (at >= row.count) continue;
      const int64_t depth = strip / blocks % s.axes[0].count;
      const Place place{strip / blocks / s.axes[0].count, depth, at, first};
      const int64_t last = Min(width, first + chunk);
      if (s.period > 0)
        StripOf<true>(rows, s, place, last, masks);
      else
        StripOf<false>(rows, s, place, last, masks);
    }
  }
}

int64_t ColumnBytes(const Depthwise& d) { return RoundToLines(d.kernel[2] * sizeof(Column)); }

int64_t MaskCount(const Depthwise& d) { return CeilDiv(d.kernel[2] * kWidest, 32) * 32; }

int64_t MaskBytes(const Depthwise& d, int64_t threads) {
  return threads * MaskCount(d) * sizeof(LaneMask);
}

LaneMask* OwnMasks(const Depthwise& d, char* masks, const Member& member) {
  return reinterpret_cast<LaneMask*>(masks) + member.thread * MaskCount(d);
}

// Vectors of an entry of several channels, none of one.
int64_t VectorsOf(const Depthwise& d) { return d.c == 1 ? 0 : PeriodOf(d); }

int64_t PackedBytes(const Depthwise& d) {
  return RoundToLines(d.taps() * Max(1, VectorsOf(d) * kLanes) * sizeof(float));
}

}  // namespace

int64_t PlaneOutputScratch(const Depthwise& d, int64_t threads) {
  if (LineServes(d)) return LineScratch(d, threads);
  return ColumnBytes(d) + MaskBytes(d, threads) + PackedBytes(d) + Rows::Scratch(Flat(d));
}

void PlaneOutput(const Depthwise& d, const float* x, const float* w, float* y, void* scratch,
                 int64_t threads) {
  if (LineServes(d)) return LineOutput(d, x, w, y, scratch, threads);
  const Depthwise flat = Flat(d);
  Column* columns = static_cast<Column*>(scratch);
  for (int64_t k = 0; k < d.kernel[2]; ++k) columns[k] = Rows::ColumnOf(flat, k);
  char* masks = static_cast<char*>(scratch) + ColumnBytes(d);
  float* packed = reinterpret_cast<float*>(masks + MaskBytes(d, threads));
  float* copy = packed + PackedBytes(d) / sizeof(float);
  const Rows rows = Rows::Of(flat, x, copy);
  const Axis axes[3] = {Forward(flat, 0), Forward(flat, 1), Forward(flat, 2)};
  if (d.c > 1) Pack(d, axes, w, packed);
  const Sheet sheet{flat, {axes[0], axes[1], axes[2]}, flat.in, flat.out, rows.data,
                    d.c > 1 ? packed : w, VectorsOf(d), rows.pitch, columns,
                    InnerOf(axes[2], columns), y};
  Tasks tasks;
  OnTeam(threads, [&](const Member& member) {
    Rows::Copy(flat, x, copy, member);
    Fill(sheet, threads, OwnMasks(d, masks, member), &tasks);
  });
}

int64_t PlaneInputScratch(const Depthwise& d, int64_t threads) {
  if (LineServes(d)) return LineScratch(d, threads);
  return ColumnBytes(d) + MaskBytes(d, threads) + PackedBytes(d);
}

void PlaneInput(const Depthwise& d, float* x, const float* w, const float* y, void* scratch,
                int64_t threads) {
  if (LineServes(d)) return LineInput(d, x, w, y, scratch, threads);
  const Depthwise flat = Flat(d);
  Column* columns = static_cast<Column*>(scratch);
  char* masks = static_cast<char*>(scratch) + ColumnBytes(d);
  float* packed = reinterpret_cast<float*>(masks + MaskBytes(d, threads));
  Tasks tasks;
  OnTeam(threads, [&](const Member& member) {
    for (int64_t p0 = 0; p0 < Min(d.stride[0], d.in[0]); ++p0) {
      for (int64_t p1 = 0; p1 < Min(d.stride[1], d.in[1]); ++p1) {
        for (int64_t p2 = 0; p2 < Min(d.stride[2], d.in[2]); ++p2) {
          const Axis axes[3] = {Backward(flat, 0, p0), Backward(flat, 1, p1),
                                Backward(flat, 2, p2)};
          member.Barrier();
          if (member.thread == 0) {
            tasks.Restart();
            for (int64_t k = 0; k < axes[2].entries; ++k) {
              const int64_t shift = axes[2].start + k * axes[2].dilation;
              columns[k] = {shift, shift, flat.out[2]};
            }
            Pack(d, axes, w, packed);
          }
          member.Barrier();
          const Sheet sheet{flat, {axes[0], axes[1], axes[2]}, flat.out, flat.in, y, packed,
                            VectorsOf(d), flat.out[2], columns, InnerOf(axes[2], columns), x};
          Fill(sheet, threads, OwnMasks(d, masks, member), &tasks);
        }
      }
    }
  });
}

}  // namespace jaxconv::JAXCONV_ISA
