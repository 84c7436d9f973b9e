"""Training's tests need the extra `train`; where only the server is installed they are not collected."""

import importlib.util
import os

# One thread in this process and in those that tests start: sums are then taken in one order, so that a run that
# one process began and another finished can be held against a run that was never interrupted.
os.environ["OMP_NUM_THREADS"] = "1"

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["*"]
