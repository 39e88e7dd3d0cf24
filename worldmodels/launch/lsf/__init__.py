"""LSF by way of submitit: `AutoExecutor(cluster="lsf")` and `hydra/launcher=submitit_lsf`.

Written from IBM's documentation of Spectrum LSF 10.1, and tried on stand-ins for its commands (tests/cluster/lsf) only.
"""
