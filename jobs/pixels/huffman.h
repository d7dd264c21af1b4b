#pragma once

#include <cstdio>  // jpeglib.h wants FILE

#include <jpeglib.h>

#include <array>
#include <cstdint>

namespace lockstep::pixels {

/// Decodes the Huffman codes of a baseline JPEG in place of libjpeg, which spends most of its time
/// there: a look at the next bits gives a whole coefficient, where libjpeg looks for its code and
/// reads its bits after that (ITU T.81, F.2.2). It knows sound files alone: where anything is
/// amiss it gives up, and libjpeg decides from the start what is to be made of the file.
class HuffmanDecoder {
 public:
  /// What is called when it gives up; must not return.
  using GiveUp = void (*)(j_decompress_ptr jpeg);

  /// Takes the place of libjpeg's decoder, between jpeg_start_decompress() and the first row; false
  /// where the file is of another kind. The decoder has to outlive the decoding. Uses client_data.
  bool take_over(j_decompress_ptr jpeg, GiveUp give_up);
  /// Moves libjpeg's source to where this has read.
  void hand_back(j_decompress_ptr jpeg) const;

 private:
  static constexpr int kLook = 10;  // bits looked at together

  /// What the next bits are: a code and its value, or a code alone.
  struct Look {
    int16_t value = 0;   // or the code's symbol
    uint8_t bits = 0;    // of both; 0: there is no value here
    uint8_t before = 0;  // zeros before the value; or the bits of the code, 0 for a longer one
  };
  struct Table {
    std::array<Look, 1 << kLook> looks;
    std::array<int32_t, 18> past_last;  // of the codes of a length, in 16 bits
    std::array<int32_t, 17> offset;     // from a code of a length to its symbol
    const uint8_t* symbols = nullptr;
  };

  /// Where it stands in the file. A copy of it stays in registers.
  struct Place {
    const uint8_t* next = nullptr;
    const uint8_t* end = nullptr;
    uint64_t buffer = 0;  // the next bit is the highest
    int bits = 0;         // in it; below 0 where more were wanted than there are
    bool gone_wrong = false;
  };

  static boolean decode_mcu(j_decompress_ptr jpeg, JBLOCKROW* blocks);
  static void make_table(const JHUFF_TBL& codes, bool with_values, Table& table);
  static void drop(Place& place, int bits);
  static int read_value(Place& place, int bits);
  static int read_symbol(Place& place, const Table& table);
  static void fill(Place& place);
  static Place filled_by_bytes(Place place);
  template <bool kWanted>
  static void decode_block(Place& place, const Table& dc, const Table& ac, uint32_t& last_dc,
                           JCOEF* block);

  Place place_;
  GiveUp give_up_ = nullptr;
  std::array<uint32_t, MAX_COMPS_IN_SCAN> last_dc_{};
  std::array<Table, NUM_HUFF_TBLS> dc_, ac_;
};

}  // namespace lockstep::pixels
