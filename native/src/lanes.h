// Vectors of channels.
#ifndef JAXCONV_LANES_H_
#define JAXCONV_LANES_H_

#include "vector.h"

namespace jaxconv::JAXCONV_ISA {
namespace {

// `width` vectors of consecutive channels; if `ragged`, the last one is not full.
template <int width, bool ragged>
class Lanes {
 public:
  explicit Lanes(int64_t channels)
      : last_(LanesBetween(0, channels - (width - 1) * kLanes)) {}

  Vector Load(const float* p, int v) const {
    return ragged && v == width - 1 ? LoadVector(last_, p + v * kLanes)
                                    : LoadVector(p + v * kLanes);
  }

  void Store(float* p, int v, Vector value) const {
    if (ragged && v == width - 1)
      StoreVector(last_, p + v * kLanes, value);
    else
      StoreVector(p + v * kLanes, value);
  }

 private:
  LaneMask last_;
};

// What is read for a channel: its own.
struct OwnChannel {
  template <int width, bool ragged>
  JAXCONV_INLINE Vector Load(const Lanes<width, ragged>& lanes, const float* p, int v) const {
    return lanes.Load(p, v);
  }
};

// Or that with a given place in its group: groups of `size` channels, which divides a vector.
class ChannelOfGroup {
 public:
  ChannelOfGroup(int64_t size, int64_t place)
      : index_((LaneNumbers() & static_cast<int32_t>(-size)) | static_cast<int32_t>(place)) {}

  template <int width, bool ragged>
  JAXCONV_INLINE Vector Load(const Lanes<width, ragged>& lanes, const float* p, int v) const {
    return Permuted(index_, lanes.Load(p, v));
  }

 private:
  LanePlaces index_;
};

// Calls `work` with each channel of a group that is read for a channel, and its place.
template <typename Work>
JAXCONV_INLINE void WithGroup(int64_t size, const Work& work) {
  if (size == 1) return work(OwnChannel(), 0);
  for (int64_t place = 0; place < size; ++place) work(ChannelOfGroup(size, place), place);
}

// Channels that are worked on at once.
constexpr int64_t kBlock = 2 * kLanes;

// Calls `work` with the lanes of at most a block of channels.
template <typename Work>
void WithLanes(int64_t channels, const Work& work) {
  if (channels == kBlock) return work(Lanes<2, false>(channels));
  if (channels > kLanes) return work(Lanes<2, true>(channels));
  if (channels == kLanes) return work(Lanes<1, false>(channels));
  return work(Lanes<1, true>(channels));
}

}  // namespace
}  // namespace jaxconv::JAXCONV_ISA

#endif  // JAXCONV_LANES_H_
