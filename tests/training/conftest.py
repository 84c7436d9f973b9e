"""Training's tests need the extra `train`; where only the server is installed they are not collected."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["*"]
