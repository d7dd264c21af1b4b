#include "jobs/pixels/huffman.h"

#include <jpegint.h>

#include <bit>
#include <cstring>

namespace lockstep::pixels {
namespace {

// Where the coefficients lie that come in zigzag; those past the last go nowhere.
constexpr std::array<uint8_t, DCTSIZE2> kPlaces{
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

constexpr int kZeroRun = 15;

// Of `bits` bits that were read: those that begin with 0 are negative.
int extend(int value, int bits) {
  return value < 1 << (bits - 1) ? value - (1 << bits) + 1 : value;
}

bool has_ones_byte(uint64_t word) {  // one that is 0xFF
  const uint64_t inverse = ~word;
  return ((inverse - 0x0101010101010101u) & ~inverse & 0x8080808080808080u) != 0;
}

}  // namespace

void HuffmanDecoder::make_table(const JHUFF_TBL& codes, bool with_values, Table& table) {
  table.looks.fill({});
  table.symbols = codes.huffval;
  int32_t code = 0, index = 0;
  for (int length = 1; length <= 16; ++length) {
    table.offset[static_cast<size_t>(length)] = index - code;
    for (int i = 0; i < codes.bits[length]; ++i, ++code, ++index) {
      if (length > kLook) continue;
      const uint8_t symbol = codes.huffval[index];
      const int value_bits = with_values ? symbol & 15 : symbol;
      const int rest = kLook - length;  // bits looked at after the code
      for (int tail = 0; tail < 1 << rest; ++tail) {
        Look& look = table.looks[static_cast<size_t>(code << rest | tail)];
        if ((value_bits == 0 && with_values) || value_bits > rest) {
          look = {.value = symbol, .bits = 0, .before = static_cast<uint8_t>(length)};
          continue;
        }
        look.bits = static_cast<uint8_t>(length + value_bits);
        if (value_bits > 0) {
          look.value = static_cast<int16_t>(extend(tail >> (rest - value_bits), value_bits));
        }
        look.before = with_values ? symbol >> 4 : 0;
      }
    }
    table.past_last[static_cast<size_t>(length)] = code << (16 - length);
    code <<= 1;
  }
  table.past_last[17] = INT32_MAX;
}

bool HuffmanDecoder::take_over(j_decompress_ptr jpeg, GiveUp give_up) {
  if (jpeg->progressive_mode || jpeg->arith_code || jpeg->restart_interval != 0 ||
      jpeg->comps_in_scan != jpeg->num_components) {
    return false;
  }
  for (int c = 0; c < jpeg->comps_in_scan; ++c) {
    const auto dc = static_cast<size_t>(jpeg->cur_comp_info[c]->dc_tbl_no);
    const auto ac = static_cast<size_t>(jpeg->cur_comp_info[c]->ac_tbl_no);
    make_table(*jpeg->dc_huff_tbl_ptrs[dc], /*with_values=*/false, dc_[dc]);
    make_table(*jpeg->ac_huff_tbl_ptrs[ac], /*with_values=*/true, ac_[ac]);
  }
  place_ = {.next = jpeg->src->next_input_byte,
            .end = jpeg->src->next_input_byte + jpeg->src->bytes_in_buffer};
  last_dc_.fill(0);
  give_up_ = give_up;
  jpeg->client_data = this;
  jpeg->entropy->decode_mcu = decode_mcu;
  return true;
}

void HuffmanDecoder::hand_back(j_decompress_ptr jpeg) const {
  jpeg->src->next_input_byte = place_.next;
  jpeg->src->bytes_in_buffer = static_cast<size_t>(place_.end - place_.next);
}

inline void HuffmanDecoder::drop(Place& place, int bits) {
  place.buffer <<= bits;
  place.bits -= bits;
}

// At least 32 bits where there are so many: the longest code and the longest value.
inline void HuffmanDecoder::fill(Place& place) {
  if (place.bits >= 32) return;
  if (place.end - place.next >= 8) {
    uint64_t word;
    std::memcpy(&word, place.next, sizeof(word));
    if (!has_ones_byte(word)) {
      // What does not fit is read again: the same bits come to the same place.
      place.buffer |= __builtin_bswap64(word) >> place.bits;
      const int bytes = (63 - place.bits) >> 3;
      place.next += bytes;
      place.bits += 8 * bytes;
      return;
    }
  }
  place = filled_by_bytes(place);
}

// A zero after 0xFF is none of the bits; anything else is a marker, behind which nothing is read.
__attribute__((noinline, cold)) HuffmanDecoder::Place HuffmanDecoder::filled_by_bytes(Place place) {
  if (place.bits < 0) return place;
  if (place.bits < 64) place.buffer &= ~(~uint64_t{0} >> place.bits);
  while (place.bits <= 56) {
    if (place.end - place.next < 2) {
      place.gone_wrong = true;  // cut off: even a sound file has a marker at its end
      return place;
    }
    if (place.next[0] == 0xFF && place.next[1] != 0) return place;
    place.buffer |= uint64_t{place.next[0]} << (56 - place.bits);
    place.bits += 8;
    place.next += place.next[0] == 0xFF ? 2 : 1;
  }
  return place;
}

inline int HuffmanDecoder::read_value(Place& place, int bits) {
  const int value = static_cast<int>(place.buffer >> (64 - bits));
  drop(place, bits);
  return extend(value, bits);
}

inline int HuffmanDecoder::read_symbol(Place& place, const Table& table) {
  const auto code = static_cast<int32_t>(place.buffer >> 48);
  size_t length = 1;
  while (code >= table.past_last[length]) ++length;
  if (length > 16) {
    place.gone_wrong = true;
    return 0;
  }
  drop(place, static_cast<int>(length));
  return table.symbols[(code >> (16 - length)) + table.offset[length]];
}

// A block that nobody wants is gone through.
template <bool kWanted>
inline void HuffmanDecoder::decode_block(Place& place, const Table& dc, const Table& ac,
                                         uint32_t& last_dc, JCOEF* block) {
  fill(place);
  const Look first = dc.looks[place.buffer >> (64 - kLook)];
  if (first.bits != 0) {
    drop(place, first.bits);
    last_dc += static_cast<uint32_t>(int{first.value});
  } else if (const int bits = read_symbol(place, dc); bits > 0 && bits < 16) {
    last_dc += static_cast<uint32_t>(read_value(place, bits));
  }
  if (kWanted) block[0] = static_cast<JCOEF>(last_dc);
  for (int k = 1; k < DCTSIZE2; ++k) {
    fill(place);
    const Look look = ac.looks[place.buffer >> (64 - kLook)];
    int value = look.value;
    if (look.bits != 0) [[likely]] {
      k += look.before;
      drop(place, look.bits);
    } else {
      int symbol = look.value;
      if (look.before != 0) {
        drop(place, look.before);
      } else {
        symbol = read_symbol(place, ac);
      }
      k += symbol >> 4;
      if ((symbol & 15) == 0) {
        if (symbol >> 4 != kZeroRun) return;
        continue;
      }
      value = read_value(place, symbol & 15);
    }
    if (k >= DCTSIZE2) {
      place.gone_wrong = true;
      return;
    }
    if (kWanted) block[kPlaces[static_cast<size_t>(k)]] = static_cast<JCOEF>(value);
  }
}

// `blocks` are zeros; null where nobody wants the coefficients.
boolean HuffmanDecoder::decode_mcu(j_decompress_ptr jpeg, JBLOCKROW* blocks) {
  auto& decoder = *static_cast<HuffmanDecoder*>(jpeg->client_data);
  Place place = decoder.place_;
  for (int b = 0; b < jpeg->blocks_in_MCU; ++b) {
    const int component = jpeg->MCU_membership[b];
    const jpeg_component_info& info = *jpeg->cur_comp_info[component];
    const Table& dc = decoder.dc_[static_cast<size_t>(info.dc_tbl_no)];
    const Table& ac = decoder.ac_[static_cast<size_t>(info.ac_tbl_no)];
    uint32_t& last_dc = decoder.last_dc_[static_cast<size_t>(component)];
    if (blocks == nullptr) {
      decode_block<false>(place, dc, ac, last_dc, nullptr);
    } else {
      decode_block<true>(place, dc, ac, last_dc, *blocks[b]);
    }
  }
  decoder.place_ = place;
  if (place.gone_wrong || place.bits < 0) decoder.give_up_(jpeg);
  return TRUE;
}

}  // namespace lockstep::pixels
