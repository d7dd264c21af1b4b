"""Draws a panel of a dashboard from what Prometheus answered, each kind as Grafana does."""

import math

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


def label_of(legend, series):
    for name, value in series["metric"].items():
        legend = legend.replace("{{" + name + "}}", value)
    return legend.strip()


def curve(series):
    """(times, values) without what is no number."""
    points = [(float(time), float(value)) for time, value in series["values"] if math.isfinite(float(value))]
    return [list(column) for column in zip(*points)] if points else [[], []]


def draw_lines(axes, panel, answers):
    stacking = panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "normal"
    base = {}
    for legend, answer in answers:
        for series in answer:
            times, values = curve(series)
            if stacking:
                values = [value + base.get(time, 0.0) for time, value in zip(times, values)]
                base.update(zip(times, values))
            axes.plot(times, values, marker=".", markersize=3, linewidth=1, label=label_of(legend, series))
    if panel["fieldConfig"]["defaults"]["custom"].get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("log")
    axes.legend(fontsize=6, loc="upper left")
    return sum(len(line.get_xdata()) for line in axes.lines)


def draw_rows(axes, _, answers):
    """Series as rows of a heat map over the time."""
    ((legend, answer),) = answers
    curves = [dict(zip(*curve(series))) for series in answer]
    times = sorted(set().union(*curves))
    grid = [[cells.get(time, math.nan) for time in times] for cells in curves]
    mesh = axes.pcolormesh(times + [times[-1] + 1], range(len(grid) + 1), grid, cmap="Oranges")
    axes.set_yticks([row + 0.5 for row in range(len(grid))], [label_of(legend, series) for series in answer], fontsize=6)
    return int(mesh.get_array().count()) if len(grid) > 1 else 0


def draw_states(axes, _, answers):
    ((legend, answer),) = answers
    for row, series in enumerate(answer):
        times, _ = curve(series)
        axes.broken_barh([(time, 1) for time in times], (row, 0.8))
        axes.text(times[0], row + 0.3, label_of(legend, series), fontsize=6)
    return sum(len(bars.get_paths()) for bars in axes.collections)


def draw_number(axes, _, answers):
    ((_, answer),) = answers
    times, values = curve(answer[0])
    axes.fill_between(times, values, alpha=0.3)
    axes.text(0.5, 0.5, f"{values[-1]:.4g}", fontsize=24, ha="center", transform=axes.transAxes)
    return len(values)


def draw_table(axes, _, answers):
    rows = [series["metric"] for _, answer in answers for series in answer]
    columns = sorted(set().union(*rows))
    axes.axis("off")
    table = axes.table([[row.get(column, "") for column in columns] for row in rows], colLabels=columns, loc="center")
    return len(table.get_celld()) - len(columns)


KINDS = {"timeseries": draw_lines, "heatmap": draw_rows, "state-timeline": draw_states, "stat": draw_number, "table": draw_table}


def draw(panel, answers, file):
    """`answers`: (legend, series) of each query. Returns how many marks the picture has: points, cells or bars."""
    figure, axes = pyplot.subplots(figsize=(panel["gridPos"]["w"] / 3, panel["gridPos"]["h"] / 3), dpi=80)
    try:
        marks = KINDS[panel["type"]](axes, panel, answers)
        axes.set_title(f"{panel['title']} [{panel['fieldConfig']['defaults']['unit']}]", fontsize=8)
        axes.tick_params(labelsize=6)
        figure.savefig(file)
    finally:
        pyplot.close(figure)
    return marks
