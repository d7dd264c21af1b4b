#!/usr/bin/env python3
"""Writes the Grafana dashboards lockstep.json and lockstep_compare.json beside this file, from the catalogue of metrics
that `lockstep metrics --json` prints: units and descriptions come from there.

usage: generate.py [LOCKSTEP] [--out DIR]      LOCKSTEP: the program [build/lockstep]
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNITS = {"seconds": "s", "bytes": "bytes", "ratio": "percentunit", "": "none"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
RUN = '{run=~"$run"}'
RATE = "$__rate_interval"


class Panel:
    """One panel. `queries`: (expression, legend); @ stands for the label selector of the chosen runs."""

    def __init__(self, title, *queries, kind="timeseries", unit=None, width=8, about="", stacked=False, log=False):
        self.title, self.queries, self.kind, self.unit = title, queries, kind, unit
        self.width, self.about, self.stacked, self.log = width, about, stacked, log


def share(metric):
    """Panels of what part of its time a GPU is held back: DCGM counts microseconds."""
    return f"rate({metric}[{RATE}]) / 1e6 * on (UUID) group_left (run, rank) lockstep_rank_gpu_info{RUN}"


def stat(title, expression, unit=None, about=""):
    return Panel(title, (expression, "{{run}}"), kind="stat", unit=unit, width=4, about=about)


def gpu(metric):
    return f"{metric} * on (UUID) group_left (run, rank) lockstep_rank_gpu_info{RUN}"


LEARNING = [
    Panel("Loss", ("max by (run) (lockstep_loss@)", "{{run}}"), ("max by (run) (lockstep_loss_ema@)", "{{run}} mean")),
    Panel("Learning rate", ("max by (run) (lockstep_learning_rate@)", "{{run}}")),
    Panel("Gradient norm", ("max by (run) (lockstep_gradient_norm@)", "{{run}}"), log=True),
    Panel("Evaluation", ("max by (run, measure) (lockstep_evaluation@)", "{{run}} {{measure}}"),
          about="Accuracies in percent."),
]

ROWS = {
    "Overview": [
        stat("Done", "max by (run) (lockstep_step@) / max by (run) (lockstep_steps@)", "percentunit"),
        stat("Time left", "min by (run) (lockstep_eta_seconds@)"),
        stat("Loss now", "max by (run) (lockstep_loss@)"),
        stat("Pictures a second", f"sum by (run) (rate(lockstep_samples_total@[{RATE}]))", "short"),
        stat("Since the last step", "time() - max by (run) (lockstep_last_step_timestamp_seconds@)", "s"),
        stat("Since the last checkpoint",
             'time() - max by (run) (lockstep_checkpoint_last_success_timestamp_seconds@)', "s"),
        Panel("State", ("max by (run, state) (lockstep_run_state@) == 1", "{{run}} {{state}}"), kind="state-timeline",
              width=12),
        stat("Goodput", "max by (run) (lockstep_goodput_ratio@)"),
        stat("Restarts", "max by (run) (sum without (cause) (lockstep_restarts_total@))"),
        stat("Ranks", "max by (run) (lockstep_world_size@)"),
        stat("Pictures a second now", "max by (run) (lockstep_samples_per_second@)", "short"),
        stat("Use of the GPU's peak", "max by (run) (lockstep_model_flops_utilization_ratio@)",
             about="Of ranks on GPUs that are known."),
        stat("Asked to stop", "max by (run) (lockstep_preemption_pending@)", "bool_yes_no"),
    ],
    "Learning": LEARNING + [
        Panel("Weight decay", ("max by (run) (lockstep_weight_decay@)", "{{run}}")),
        Panel("Steps that were not finite",
              (f"sum by (run, action) (increase(lockstep_non_finite_steps_total@[{RATE}]))", "{{run}} {{action}}")),
        Panel("What the job tells", ("max by (run, measure) (lockstep_job_measure@)", "{{run}} {{measure}}"),
              about="DINO: entropy of the teacher and divergence of the student in nats, norm of the centre, standard "
                    "deviation of the features."),
        Panel("The job's schedules", ("max by (run, schedule) (lockstep_job_schedule@)", "{{run}} {{schedule}}")),
        Panel("Epoch", ("max by (run) (lockstep_epoch@)", "{{run}}")),
    ],
    "Where a step's time goes": [
        Panel("Phases of a step",
              (f"sum by (run, phase) (rate(lockstep_phase_seconds_total@[{RATE}])) / on (run) group_left "
               f"sum by (run) (rate(lockstep_step_seconds_count@[{RATE}]))", "{{run}} {{phase}}"),
              unit="s", width=12, stacked=True),
        Panel("Duration of a step",
              (f"sum by (run) (rate(lockstep_step_seconds_sum@[{RATE}])) / "
               f"sum by (run) (rate(lockstep_step_seconds_count@[{RATE}]))", "{{run}} mean"),
              (f"histogram_quantile(0.95, sum by (run, le) (rate(lockstep_step_seconds_bucket@[{RATE}])))",
               "{{run}} 95 of 100"), unit="s", width=12),
    ],
    "Stragglers": [
        Panel("Compute time by rank", ("max by (run, rank) (lockstep_rank_compute_seconds@)", "{{run}} {{rank}}"),
              kind="heatmap", about="A row for each rank, over the time; a slow one stands out."),
        Panel("Waiting for pictures by rank", ("max by (run, rank) (lockstep_rank_data_wait_seconds@)", "{{rank}}")),
        Panel("The ten slowest ranks", ("bottomk(10, max by (run, rank) (lockstep_rank_straggler_score_ratio@))", ""),
              kind="table"),
        Panel("Time of a step by rank", ("max by (run, rank) (lockstep_rank_step_seconds@)", "{{rank}}")),
        Panel("Waiting for the others by rank", ("max by (run, rank) (lockstep_rank_sum_seconds@)", "{{rank}}"),
              about="Of a rank that the others wait for it is the least."),
        Panel("Update by rank", ("max by (run, rank) (lockstep_rank_update_seconds@)", "{{rank}}")),
        Panel("Steps by rank", ("max by (run, rank) (lockstep_rank_step@)", "{{rank}}")),
    ],
    "Data": [
        Panel("Waiting for pictures", ("max by (run) (lockstep_data_wait_seconds@)", "{{run}}")),
        Panel("Loaded ahead", ("max by (run) (lockstep_data_queue_depth@)", "{{run}}"),
              ("max by (run) (lockstep_data_queue_capacity@)", "{{run}} at most")),
        Panel("Read", (f"sum by (run) (rate(lockstep_data_read_bytes_total@[{RATE}]))", "{{run}}"), unit="Bps"),
        Panel("Decoding", (f"sum by (run) (rate(lockstep_data_decode_seconds_total@[{RATE}]))", "{{run}}"),
              unit="none", about="Threads that decode all the time."),
        Panel("Pictures that could not be used",
              (f"sum by (run, kind) (increase(lockstep_unreadable_samples_total@[{RATE}]))", "{{run}} {{kind}}")),
    ],
    "Communication": [
        Panel("Summed", (f"sum by (run) (rate(lockstep_sum_bytes_total@[{RATE}]))", "{{run}}"), unit="Bps"),
        Panel("Waiting for the sum",
              (f'sum by (run) (rate(lockstep_phase_seconds_total{{run=~"$run",phase="sum"}}[{RATE}]))', "{{run}}"),
              unit="percentunit", about="Part of the time that did not hide behind the backward pass."),
    ],
    "GPU": [
        Panel("Tensor cores", (gpu("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"), "{{run}} {{rank}}"), unit="percentunit"),
        Panel("Busy", (gpu("DCGM_FI_DEV_GPU_UTIL"), "{{run}} {{rank}}"), unit="percent"),
        Panel("Memory", (gpu("DCGM_FI_DEV_FB_USED"), "{{run}} {{rank}}"), unit="decmbytes"),
        Panel("Power", (gpu("DCGM_FI_DEV_POWER_USAGE"), "{{run}} {{rank}}"), unit="watt"),
        Panel("Temperature", (gpu("DCGM_FI_DEV_GPU_TEMP"), "{{run}} {{rank}}"), unit="celsius"),
        Panel("Clock", (gpu("DCGM_FI_DEV_SM_CLOCK"), "{{run}} {{rank}}"), unit="rotmhz"),
        Panel("Held back by heat", (share("DCGM_FI_DEV_THERMAL_VIOLATION"), "{{run}} {{rank}}"), unit="percentunit"),
        Panel("Held back by power", (share("DCGM_FI_DEV_POWER_VIOLATION"), "{{run}} {{rank}}"), unit="percentunit"),
        Panel("Use of the peak", ("max by (run) (lockstep_model_flops_utilization_ratio@)", "{{run}}")),
    ],
    "Checkpoints": [
        Panel("Age", ("time() - max by (run, tier) (lockstep_checkpoint_last_success_timestamp_seconds@)",
                      "{{run}} {{tier}}"), unit="s"),
        Panel("Duration", ("max by (run, tier) (lockstep_checkpoint_seconds@)", "{{run}} {{tier}}")),
        Panel("Size", ("max by (run, tier) (lockstep_checkpoint_size_bytes@)", "{{run}} {{tier}}")),
        Panel("Step", ("max by (run, tier) (lockstep_checkpoint_last_step@)", "{{run}} {{tier}}")),
        Panel("Interval", ("max by (run) (lockstep_checkpoint_interval_seconds@)", "{{run}}")),
        Panel("Room on the disk", ("min by (run) (lockstep_disk_free_bytes@)", "{{run}}")),
        Panel("Failures", ("max by (run, tier) (lockstep_checkpoint_failures_total@)", "{{run}} {{tier}}")),
    ],
    "Reliability": [
        Panel("Launches", ("max by (run, job, recipe, job_id, launch, recipe_hash) (lockstep_run_info@)", ""), kind="table",
              width=12),
        Panel("Program", ("max by (run, version, commit, torch, mpi, nccl, cuda) (lockstep_build_info@)", ""), kind="table",
              width=12),
        Panel("Restarts by cause", ("max by (run, cause) (lockstep_restarts_total@)", "{{run}} {{cause}}")),
        Panel("Lost steps", ("max by (run) (lockstep_lost_steps_total@)", "{{run}}")),
        Panel("Goodput over time", ("max by (run) (lockstep_goodput_ratio@)", "{{run}}")),
        Panel("Weights that differed", ("max by (run) (lockstep_weights_mismatches_total@)", "{{run}}")),
        Panel("Heartbeat age by rank",
              ("time() - max by (run, rank) (lockstep_rank_heartbeat_timestamp_seconds@)", "{{run}} {{rank}}"), unit="s"),
    ],
}

COMPARE = {
    "Runs side by side": LEARNING + [
        Panel("Pictures a second", (f"sum by (run) (rate(lockstep_samples_total@[{RATE}]))", "{{run}}"), unit="short"),
        Panel("Steps", ("max by (run) (lockstep_step@)", "{{run}}"),
              about="Over the clock. Curves over steps are in TensorBoard and in `lockstep plot RUN...`."),
    ],
}


def catalogue(lockstep):
    out = subprocess.run([lockstep, "metrics", "--json"], capture_output=True, text=True, check=True).stdout
    return {metric["name"]: metric for metric in map(json.loads, out.splitlines())}


def described(panel, metrics):
    """The first metric of a panel in the catalogue; one that is not there belongs to DCGM."""
    name = re.search(r"lockstep_[a-z_]+|DCGM_\w+", panel.queries[0][0]).group()
    name = re.sub(r"_(bucket|sum|count)$", "", name) if name not in metrics else name
    if name.startswith("DCGM"):
        return {"unit": "", "help": f"{name} of NVIDIA's dcgm-exporter, for the GPUs of this run.",
                "availability": "always"}
    return metrics[name]


def panel_json(panel, identity, x, y, metrics, link):
    metric = described(panel, metrics)
    about = " ".join(filter(None, [metric["help"], panel.about]))
    table = panel.kind == "table"
    targets = [{"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": expression.replace("@", RUN),
                "legendFormat": legend, "range": not table, "instant": table, **({"format": "table"} if table else {})}
               for i, (expression, legend) in enumerate(panel.queries)]
    custom = {}
    if panel.kind == "timeseries":
        custom = {"lineWidth": 1, "fillOpacity": 30 if panel.stacked else 0, "showPoints": "never",
                  "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
                  "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"}}
    options = {"timeseries": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                              "tooltip": {"mode": "multi", "sort": "desc"}},
               "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                        "graphMode": "area", "colorMode": "value", "textMode": "auto"},
               # Series as rows, not calculated: a row is a rank.
               "heatmap": {"calculate": False, "rowsFrame": {"layout": "auto"}, "color": {"mode": "scheme", "scheme": "Oranges"},
                           "yAxis": {"unit": "string"}, "cellValues": {"unit": "s"}},
               "state-timeline": {"showValue": "never", "rowHeight": 0.8}, "table": {"showHeader": True}}
    return {"id": identity, "type": panel.kind, "title": panel.title, "description": about, "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": panel.width, "h": 4 if panel.kind == "stat" else 8},
            "targets": targets, "options": options[panel.kind],
            "fieldConfig": {"defaults": {"unit": panel.unit or UNITS.get(metric["unit"], "short"), "custom": custom},
                            "overrides": []},
            "links": [link]}


def panels_of(rows, metrics, link):
    panels, y = [], 0
    for title, members in rows.items():
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        x, y, height = 0, y + 1, 0
        for panel in members:
            if x + panel.width > 24:
                x, y, height = 0, y + height, 0
            panels.append(panel_json(panel, len(panels) + 1, x, y, metrics, link))
            x, height = x + panel.width, max(height, panels[-1]["gridPos"]["h"])
        y += height
    return panels


def variables():
    def query(name, label, text, multi):
        return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE, "refresh": 2, "sort": 2,
                "query": {"query": text, "refId": name}, "multi": multi, "includeAll": multi, "hide": 0}
    return [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0},
            query("run", "Run", "label_values(lockstep_step, run)", True)]


def dashboard(uid, title, about, rows, metrics, other, other_title):
    link = {"title": other_title, "url": f"/d/{other}?${{run:queryparam}}&${{__url_time_range}}", "targetBlank": False}
    launches = {"name": "Launches", "enable": True, "datasource": DATASOURCE, "iconColor": "orange",
                "expr": f"max by (run) (lockstep_run_start_timestamp_seconds{RUN}) * 1000", "useValueForTime": True,
                "titleFormat": "launch of {{run}}"}
    return {"id": None, "uid": uid, "title": title, "description": about, "tags": ["lockstep", "training"],
            "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s",
            "timezone": "utc", "time": {"from": "now-6h", "to": "now"},
            "links": [{"title": "Other dashboards of Lockstep", "type": "dashboards", "tags": ["lockstep"],
                       "asDropdown": False, "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "",
                       "tooltip": "", "url": ""}],
            "templating": {"list": variables()}, "annotations": {"list": [launches]},
            "panels": panels_of(rows, metrics, link)}


def dashboards(lockstep):
    metrics = catalogue(lockstep)
    return {"lockstep.json": dashboard("lockstep", "Lockstep", "One or several training runs, from state to GPUs.",
                                       ROWS, metrics, "lockstep-compare", "Compare runs"),
            "lockstep_compare.json": dashboard("lockstep-compare", "Lockstep: compare runs",
                                               "Curves of several runs over each other.", COMPARE, metrics,
                                               "lockstep", "All about this run")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lockstep", nargs="?", default=str(HERE.parents[1] / "build" / "lockstep"))
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    for name, content in dashboards(arguments.lockstep).items():
        (arguments.out / name).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
