# shellcheck shell=bash disable=SC2154
# What run.sh and the templates for Slurm share, who read it. `launcher` is the process that they started, `asked` the signal
# that they were asked to pass on to it, `run` the folder.

# Sets `code` to what the launcher ended with, whatever signals come meanwhile.
wait_for_launcher() {
  code=0
  wait "$launcher" || code=$?
  while kill -0 "$launcher" 2> /dev/null; do   # a trap ends `wait`
    code=0
    wait "$launcher" || code=$?
  done
  launcher=
  # Who was not ready for an USR2 is ended by it, before there was anything to save.
  if [ "$asked" = USR2 ] && [ "$code" -eq 140 ]; then code=75; fi
}

never_saved() { ! ls "$run"/checkpoints/step-*/manifest.json > /dev/null 2>&1; }
