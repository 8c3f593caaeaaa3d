"""Put the checkout's own `src/` first on the path and go offline, before any library is imported.

Snakemake removes PYTHONPATH from conda jobs and an installed copy could be a stale one, so a script finds the library
from its own location. Only the `fetch_*` scripts lift the offline mode.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
os.environ.update(
    HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false"
)
