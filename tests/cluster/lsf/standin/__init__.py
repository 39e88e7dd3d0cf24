"""Stand-ins for LSF's commands and daemons. They run, warn, suspend, kill and requeue real processes.

Written from IBM's documentation of Spectrum LSF 10.1; each module names its pages. They are not LSF: what they know is
what those pages say of the options that this project uses, and hosts and GPUs are names only.

Switches, all in the environment:
LSF_STANDIN               the folder that holds the cluster's state
LSF_STANDIN_MINUTE        seconds that a minute of -W and -wt takes (60)
LSF_STANDIN_CLOCK         a file; run limits count only while it is there, so that a slow start does not matter
LSF_STANDIN_INTERVAL      JOB_TERMINATE_INTERVAL, seconds between INT, TERM and KILL (10)
LSF_STANDIN_SLOTS         of the whole cluster (16)
LSF_STANDIN_CLEAN         CLEAN_PERIOD, seconds after which bjobs forgets a finished job (3600)
LSF_STANDIN_OLD           bjobs has no -json, as before 10.1.0.2
LSF_STANDIN_NO_HISTORY    bhist has forgotten everything
LSF_STANDIN_FAIL          `bsub:2 bjobs:1`: the first so many calls fail, and do nothing
LSF_STANDIN_MUTE          the same, but the deed is done, and only the answer is lost
LSF_STANDIN_LATE          `bsub:1:3`: the first call hangs, and its deed is done 3 s later, whatever became of it
LSF_STANDIN_SLOW          `bsub:2:30`: the first two calls answer 30 s after the deed
"""
