#include "monitoring/canvas.h"

#include <cairo-svg.h>
#include <fmt/format.h>

#include <numbers>

#include "comm/error.h"

namespace lockstep::monitoring {
namespace {

constexpr double kPngScale = 2.0;

bool is_png(const std::filesystem::path& file) { return file.extension() == ".png"; }

cairo_surface_t* make_surface(const std::filesystem::path& file, double width, double height) {
  if (!is_png(file)) return cairo_svg_surface_create(file.c_str(), width, height);
  return cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(kPngScale * width),
                                    static_cast<int>(kPngScale * height));
}

}  // namespace

void Canvas::Destroy::operator()(_cairo* cairo) const { cairo_destroy(cairo); }

Canvas::Canvas(const std::filesystem::path& file, double width, double height) : file_(file) {
  cairo_surface_t* surface = make_surface(file, width, height);
  cairo_.reset(cairo_create(surface));
  cairo_surface_destroy(surface);  // the drawing keeps it
  if (is_png(file)) cairo_scale(cairo_.get(), kPngScale, kPngScale);
  set_colour({1, 1, 1}, 1.0);
  cairo_paint(cairo_.get());
  cairo_set_line_join(cairo_.get(), CAIRO_LINE_JOIN_ROUND);
}

Canvas::~Canvas() = default;

void Canvas::set_colour(const Colour& colour, double opacity) {
  cairo_set_source_rgba(cairo_.get(), colour.red, colour.green, colour.blue, opacity);
}

void Canvas::curve(const std::vector<Point>& points, const Pen& pen) {
  constexpr double kDash[] = {5.0, 3.0};
  set_colour(pen.colour, pen.opacity);
  cairo_set_line_width(cairo_.get(), pen.width);
  cairo_set_dash(cairo_.get(), kDash, pen.dashed ? 2 : 0, 0.0);
  for (const Point& point : points) cairo_line_to(cairo_.get(), point.x, point.y);
  cairo_stroke(cairo_.get());
}

void Canvas::area(const std::vector<Point>& points, const Colour& colour) {
  set_colour(colour, 1.0);
  for (const Point& point : points) cairo_line_to(cairo_.get(), point.x, point.y);
  cairo_fill(cairo_.get());
}

void Canvas::disc(const Point& centre, double radius, const Colour& colour) {
  set_colour(colour, 1.0);
  cairo_arc(cairo_.get(), centre.x, centre.y, radius, 0.0, 2.0 * std::numbers::pi);
  cairo_fill(cairo_.get());
}

void Canvas::set_lettering(const Lettering& lettering) {
  cairo_select_font_face(cairo_.get(), "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                         lettering.bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(cairo_.get(), lettering.size);
  set_colour(lettering.colour, 1.0);
}

double Canvas::text_width(const std::string& text, const Lettering& lettering) {
  set_lettering(lettering);
  cairo_text_extents_t extents;
  cairo_text_extents(cairo_.get(), text.c_str(), &extents);
  return extents.x_advance;
}

void Canvas::text(const Point& at, const std::string& text, const Lettering& lettering) {
  const double width = text_width(text, lettering);
  const double before = lettering.align == Align::left     ? 0.0
                        : lettering.align == Align::centre ? width / 2
                                                           : width;
  cairo_move_to(cairo_.get(), at.x - before, at.y);
  cairo_show_text(cairo_.get(), text.c_str());
  cairo_new_path(cairo_.get());
}

void Canvas::clip(const Rectangle& inside) {
  cairo_save(cairo_.get());
  cairo_rectangle(cairo_.get(), inside.left, inside.top, inside.width, inside.height);
  cairo_clip(cairo_.get());
}

void Canvas::unclip() { cairo_restore(cairo_.get()); }

void Canvas::finish() {
  cairo_surface_t* surface = cairo_get_target(cairo_.get());
  cairo_status_t status = cairo_status(cairo_.get());
  if (status == CAIRO_STATUS_SUCCESS && is_png(file_))
    status = cairo_surface_write_to_png(surface, file_.c_str());
  cairo_surface_finish(surface);
  if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_status(surface);
  if (status == CAIRO_STATUS_SUCCESS) return;
  throw WriteError(
      "E501", fmt::format("cannot write '{}': {}", file_.string(), cairo_status_to_string(status)),
      "check the folder's owner, permissions and free space");
}

}  // namespace lockstep::monitoring
