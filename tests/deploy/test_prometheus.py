"""Rules and alerts in Prometheus' own hands: each alert fires when it should and is silent when it should be, speaks of
metrics that exist, and has its section in docs/operations.md."""

import json
import subprocess
import tempfile
import unittest

import yaml

from deploy_support import FOLDER, OPERATIONS, catalogue, metrics_in

ALERTS = [rule for group in yaml.safe_load((FOLDER / "prometheus/alerts.yml").read_text())["groups"]
          for rule in group["rules"]]
RULES = [rule for group in yaml.safe_load((FOLDER / "prometheus/rules.yml").read_text())["groups"]
         for rule in group["rules"]]

RUNNING = {'lockstep_run_state{run="a",state="running"}': "1x700"}
STEADY = {**RUNNING, 'lockstep_step_seconds_sum{run="a"}': "0+60x700", 'lockstep_step_seconds_count{run="a"}': "0+60x700"}

# A sample a minute. name: (what it fires for, what it must not fire for, minute at which to ask).
CASES = {
    "LockstepNoProgress": (
        {**STEADY, 'lockstep_last_step_timestamp_seconds{run="a"}': "60x700"},  # steps of 1 s; none since minute 1
        {**STEADY, 'lockstep_last_step_timestamp_seconds{run="a"}': "0+60x700"}, 30),
    "LockstepDown": ({'up{job="lockstep",run="a"}': "0x20"}, {'up{job="lockstep",run="a"}': "1x20"}, 10),
    "LockstepRestartLoop": (  # four times from 100 to 107; once
        {'lockstep_restarts_total{run="a",cause="lost"}': "0x9 1x9 2x9 3x9 4x20",
         'lockstep_step{run="a"}': "98+1x9 100+1x7 _ _ 100+1x7 _ _ 100+1x7 _ _ 100+1x7 107x20"},
        {'lockstep_restarts_total{run="a",cause="lost"}': "7x9 8x99", 'lockstep_step{run="a"}': "107x99"}, 55),
    "LockstepRankSilent": ({'lockstep_rank_heartbeat_timestamp_seconds{run="a",rank="3"}': "60x20"},
                           {'lockstep_rank_heartbeat_timestamp_seconds{run="a",rank="3"}': "0+60x20"}, 10),
    "LockstepStraggler": ({'lockstep_rank_straggler_score_ratio{run="a",rank="3"}': "0.7x30"},
                          {'lockstep_rank_straggler_score_ratio{run="a",rank="3"}': "0.7x9 0.9x30"}, 25),
    "LockstepCheckpointStale": (
        {**RUNNING, 'lockstep_checkpoint_interval_seconds{run="a"}': "600x99",
         'lockstep_run_start_timestamp_seconds{run="a"}': "0x99"},
        {**RUNNING, 'lockstep_checkpoint_interval_seconds{run="a"}': "600x99",
         'lockstep_run_start_timestamp_seconds{run="a"}': "0x99",
         'lockstep_checkpoint_last_success_timestamp_seconds{run="a",tier="disk"}': "0x29 1800x99"}, 40),
    "LockstepCheckpointFailing": ({'lockstep_checkpoint_failures_total{run="a",tier="disk"}': "0x5 1x30"},
                                  {'lockstep_checkpoint_failures_total{run="a",tier="disk"}': "0x30"}, 20),
    "LockstepDiskLow": (  # filled by 10 GB a minute; or it stays as it is, with room for two
        {'lockstep_checkpoint_size_bytes{run="a",tier="disk"}': "1e10x99", 'lockstep_disk_free_bytes{run="a"}': "2e12-1e10x99"},
        {'lockstep_checkpoint_size_bytes{run="a",tier="disk"}': "1e10x99", 'lockstep_disk_free_bytes{run="a"}': "2.1e10x99"}, 70),
    "LockstepLossNotFinite": ({'lockstep_loss{run="a"}': "NaN NaN NaN NaN NaN"}, {'lockstep_loss{run="a"}': "2.5x5"}, 3),
    "LockstepNonFiniteSteps": ({'lockstep_non_finite_steps_total{run="a",action="skip"}': "0x5 2x5 4x30"},
                               {'lockstep_non_finite_steps_total{run="a",action="skip"}': "0x5 1x30"}, 30),
    "LockstepWeightsDiffer": ({'lockstep_weights_mismatches_total{run="a"}': "0x5 1x30"},
                              {'lockstep_weights_mismatches_total{run="a"}': "1x30"}, 20),
    "LockstepLossSpike": ({'lockstep_loss{run="a"}': "2x60 5x30"}, {'lockstep_loss{run="a"}': "2x60 3x30"}, 70),
    "LockstepGradientExplosion": ({'lockstep_gradient_norm{run="a"}': "2x60 25x30"},
                                  {'lockstep_gradient_norm{run="a"}': "2x60 15x30"}, 70),
    "LockstepDinoCollapse": (
        {'lockstep_job_measure{run="a",measure="teacher_entropy"}': "11x60",
         'lockstep_job_measure{run="a",measure="teacher_student_kl"}': "0.001x60",
         'lockstep_job_measure{run="a",measure="feature_std"}': "0.3x60"},
        {'lockstep_job_measure{run="a",measure="teacher_entropy"}': "4x60",
         'lockstep_job_measure{run="a",measure="teacher_student_kl"}': "1.5x60",
         'lockstep_job_measure{run="a",measure="feature_std"}': "0.9x60"}, 50),
    "LockstepDataStarved": (
        {'lockstep_phase_seconds_total{run="a",phase="data_wait"}': "0+20x60",
         'lockstep_phase_seconds_total{run="a",phase="compute"}': "0+40x60"},
        {'lockstep_phase_seconds_total{run="a",phase="data_wait"}': "0+5x60",
         'lockstep_phase_seconds_total{run="a",phase="compute"}': "0+55x60"}, 40),
    "LockstepThroughputDrop": ({**RUNNING, 'lockstep_samples_total{run="a"}': "0+100x300 30000+50x60"},
                               {**RUNNING, 'lockstep_samples_total{run="a"}': "0+100x300 30000+95x60"}, 345),
    "GpuXid": ({'DCGM_FI_DEV_XID_ERRORS{gpu="0",Hostname="n1"}': "79x5"},
               {'DCGM_FI_DEV_XID_ERRORS{gpu="0",Hostname="n1"}': "0x5"}, 3),
    "GpuMemoryError": ({'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu="0",Hostname="n1"}': "0x5 1x20"},
                       {'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu="0",Hostname="n1"}': "3x20",
                        'DCGM_FI_DEV_ROW_REMAP_FAILURE{gpu="0",Hostname="n1"}': "0x20"}, 10),
    "GpuThrottled": ({'DCGM_FI_DEV_THERMAL_VIOLATION{gpu="0",Hostname="n1"}': "0+6e6x30"},  # microseconds
                     {'DCGM_FI_DEV_THERMAL_VIOLATION{gpu="0",Hostname="n1"}': "7e6x30"}, 20),
}

CHECKPOINTS_OF_10_GB = {'lockstep_checkpoint_size_bytes{run="a",tier="disk"}': "1e10x99"}
DINO = {'lockstep_job_measure{run="a",measure="teacher_entropy"}': "4x60",
        'lockstep_job_measure{run="a",measure="teacher_student_kl"}': "1.5x60",
        'lockstep_job_measure{run="a",measure="feature_std"}': "0.9x60"}
BY_STEPS = {**STEADY, 'lockstep_checkpoint_interval_seconds{run="a"}': "0x99",  # of 1 s
            'lockstep_checkpoint_interval_steps{run="a"}': "600x99", 'lockstep_run_start_timestamp_seconds{run="a"}': "0x99"}

# The other reasons for which an alert fires, and what it has to bear: (alert, series, minute, whether it fires).
BRANCHES = [
    ("LockstepRestartLoop", {'lockstep_restarts_total{run="a",cause="hang"}': "0x9 1x9 2x9 3x30",  # further each time
                             'lockstep_restarts_total{run="a",cause="lost"}': "0x30 1x30",
                             'lockstep_step{run="a"}': "100+1x99"}, 55, False),
    ("LockstepRestartLoop", {'lockstep_restarts_total{run="a",cause="hang"}': "0x9 1x9 2x30",  # whatever the cause
                             'lockstep_restarts_total{run="a",cause="lost"}': "0x30 1x9 2x30",
                             'lockstep_step{run="a"}': "100x99"}, 55, True),
    ("LockstepCheckpointStale", BY_STEPS, 40, True),
    ("LockstepCheckpointStale", {**BY_STEPS, 'lockstep_checkpoint_last_success_timestamp_seconds{run="a",tier="disk"}':
                                 "0x29 1800x99"}, 40, False),
    ("LockstepCheckpointStale", {**BY_STEPS,  # a copy in memory is no checkpoint
                                 'lockstep_checkpoint_last_success_timestamp_seconds{run="a",tier="memory"}': "0+60x99"}, 40, True),
    ("LockstepDiskLow", {**CHECKPOINTS_OF_10_GB, 'lockstep_disk_free_bytes{run="a"}': "1.9e10x99"}, 70, True),
    ("LockstepLossNotFinite", {'lockstep_loss{run="a"}': "Inf Inf Inf Inf Inf"}, 3, True),
    ("LockstepLossNotFinite", {'lockstep_loss{run="a"}': "-Inf -Inf -Inf -Inf -Inf"}, 3, True),
    ("LockstepDinoCollapse", {**DINO, 'lockstep_job_measure{run="a",measure="feature_std"}': "0.01x60"}, 50, True),
    ("LockstepDinoCollapse", {**DINO, 'lockstep_job_measure{run="a",measure="teacher_entropy"}': "0.03x60",
                              'lockstep_job_measure{run="a",measure="teacher_student_kl"}': "0.02x60"}, 50, True),
    ("LockstepDinoCollapse", {**DINO, 'lockstep_job_measure{run="a",measure="teacher_entropy"}': "0.03x60"}, 50, False),
    ("GpuMemoryError", {'DCGM_FI_DEV_ROW_REMAP_FAILURE{gpu="0",Hostname="n1"}': "1x20"}, 10, True),
    ("GpuThrottled", {'DCGM_FI_DEV_POWER_VIOLATION{gpu="0",Hostname="n1"}': "0+40e6x30"}, 20, True),
    ("GpuThrottled", {'DCGM_FI_DEV_POWER_VIOLATION{gpu="0",Hostname="n1"}': "0+20e6x30"}, 20, False),
]

# Rules that no alert rests on: (rule, series, minute, what it then is).
RECORDED = [
    ("lockstep:step_seconds:mean5m",  # steps of 1 s, and then of 2
     {'lockstep_step_seconds_sum{run="a"}': "0+60x30", 'lockstep_step_seconds_count{run="a"}': "0+60x10 600+30x30"}, 30, 2),
    ("lockstep:step_seconds:p95_5m",  # 9 of 10 within a second, one within two: half of that bucket's
     {'lockstep_step_seconds_bucket{run="a",le="1"}': "0+54x30", 'lockstep_step_seconds_bucket{run="a",le="2"}': "0+60x30",
      'lockstep_step_seconds_bucket{run="a",le="+Inf"}': "0+60x30"}, 20, 1.5),
    ("lockstep:restarts:total", {'lockstep_restarts_total{run="a",cause="hang"}': "1x9",
                                 'lockstep_restarts_total{run="a",cause="lost"}': "3x9"}, 5, 4),
    ("lockstep:step:highest", {'lockstep_step{run="a"}': "100+1x9 100+1x3"}, 12, 109),
]


class Prometheus(unittest.TestCase):
    def promtool(self, series, **asked):
        """What promtool says to it."""
        test = {"rule_files": [str(FOLDER / "prometheus/rules.yml"), str(FOLDER / "prometheus/alerts.yml")],
                "evaluation_interval": "1m",
                "tests": [{"interval": "1m", "input_series": [{"series": s, "values": v} for s, v in series.items()], **asked}]}
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write(json.dumps(test))
            file.flush()
            return subprocess.run(["promtool", "test", "rules", file.name], capture_output=True, text=True, check=False)

    def fired(self, name, series, minute):
        """Whether the alert fires then: promtool is asked to expect none, and names what it found."""
        done = self.promtool(series, alert_rule_test=[{"eval_time": f"{minute}m", "alertname": name, "exp_alerts": []}])
        if done.returncode == 0:
            return False
        self.assertIn(f"alertname: {name}", done.stderr)
        self.assertIn("got:[", done.stderr.replace("\n", "").replace(" ", ""))
        self.assertIn("Labels:{", done.stderr.replace("\n", "").replace(" ", ""))
        return True

    def test_every_alert_has_its_cases(self):
        self.assertEqual(sorted(CASES), sorted(rule["alert"] for rule in ALERTS))

    def test_alerts_fire_and_stay_silent(self):
        for name, (fires, silent, minute) in CASES.items():
            with self.subTest(alert=name):
                self.assertTrue(self.fired(name, fires, minute))
                self.assertFalse(self.fired(name, silent, minute))

        for name, series, minute, fires in BRANCHES:
            with self.subTest(alert=name, series=series):
                self.assertEqual(self.fired(name, series, minute), fires)

    def test_what_rules_record(self):
        for name, series, minute, value in RECORDED:
            with self.subTest(rule=name):
                done = self.promtool(series, promql_expr_test=[
                    {"expr": f"round({name}, 0.001)", "eval_time": f"{minute}m", "exp_samples": [{"labels": '{run="a"}', "value": value}]}])
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_alert_has_a_section(self):
        for rule in ALERTS:
            self.assertRegex(OPERATIONS, rf"(?m)^#### {rule['alert']}$")
            self.assertIn(rule["labels"]["severity"], ("critical", "warning"))
            self.assertTrue(rule["annotations"]["summary"])

    def test_rules_speak_of_metrics_that_exist(self):
        known = set(catalogue()) | {rule["record"] for rule in RULES}
        for rule in RULES + ALERTS:
            unknown = {name for name in metrics_in(rule["expr"]) if name.startswith("lockstep")} - known
            self.assertFalse(unknown, rule)

    def test_promtool_finds_them_sound(self):
        for words in (["rules", "rules.yml"], ["rules", "alerts.yml"], ["config", "prometheus.yml"]):
            done = subprocess.run(["promtool", "check", words[0], FOLDER / "prometheus" / words[1]],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
