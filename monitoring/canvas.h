#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

struct _cairo;

namespace lockstep::monitoring {

struct Colour {
  double red, green, blue;  // 0 to 1
};
struct Point {
  double x, y;  // pixels; y grows downwards
};
struct Rectangle {
  double left, top, width, height;
  double right() const { return left + width; }
  double bottom() const { return top + height; }
};

/// A white sheet that is drawn on and becomes a file: .svg, or .png with two pixels for one. By
/// Cairo. One thread.
class Canvas {
 public:
  Canvas(const std::filesystem::path& file, double width, double height);
  ~Canvas();

  struct Pen {
    Colour colour;
    double width = 1.0;
    double opacity = 1.0;
    bool dashed = false;
  };
  void curve(const std::vector<Point>& points, const Pen& pen);
  /// Fills what lies within.
  void area(const std::vector<Point>& points, const Colour& colour);
  void disc(const Point& centre, double radius, const Colour& colour);

  enum class Align { left, centre, right };
  struct Lettering {
    double size = 12.0;
    Colour colour{0.25, 0.25, 0.25};
    bool bold = false;
    Align align = Align::left;
  };
  /// `at`: the begin, middle or end of the text's base line.
  void text(const Point& at, const std::string& text, const Lettering& lettering);
  double text_width(const std::string& text, const Lettering& lettering);

  /// What is drawn from now on is seen inside only; unclip() ends it.
  void clip(const Rectangle& inside);
  void unclip();

  /// Writes the file. Throws WriteError (E501).
  void finish();

 private:
  void set_colour(const Colour& colour, double opacity);
  void set_lettering(const Lettering& lettering);

  std::filesystem::path file_;
  struct Destroy {
    void operator()(_cairo* cairo) const;
  };
  std::unique_ptr<_cairo, Destroy> cairo_;
};

}  // namespace lockstep::monitoring
