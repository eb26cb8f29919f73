"""What a user can start, callable from Python: `from hyperderm.workflows import sweep`. The command line only parses flags.

Every function resolves names and proves values before anything heavy is imported. It prints what the command prints, and
goes on where an earlier call of the same run stood. Errors that a user can mend are `hyperderm.errors.HyperdermError`.
"""

from hyperderm.workflows.grids import (
    ablation,
    ablation_detach,
    ablation_plan,
    ablation_status,
    ablation_stop,
    grid_request,
    show_grid,
)
from hyperderm.workflows.run_comparison import compare
from hyperderm.workflows.run_curation import curate
from hyperderm.workflows.run_description import describe
from hyperderm.workflows.run_doctor import doctor
from hyperderm.workflows.run_evaluation import evaluate
from hyperderm.workflows.run_generation import generate
from hyperderm.workflows.run_ingest import annotate_export, check_ingest, ingest, ingest_job
from hyperderm.workflows.run_phantom import phantom
from hyperderm.workflows.run_registration import register
from hyperderm.workflows.run_segmentation import Network, Source, denoise, segment
from hyperderm.workflows.run_sweep_comparison import compare_sweeps
from hyperderm.workflows.run_unmixing import unmix
from hyperderm.workflows.runs import audit_leaks, show, sweep, train
from hyperderm.workflows.stores import (
    bucket_clean,
    bucket_info,
    bucket_links,
    store_diff,
    store_export,
    store_info,
    store_verify,
)

__all__ = [
    "Network",
    "Source",
    "ablation",
    "ablation_detach",
    "ablation_plan",
    "ablation_status",
    "ablation_stop",
    "annotate_export",
    "audit_leaks",
    "bucket_clean",
    "bucket_info",
    "bucket_links",
    "check_ingest",
    "compare",
    "compare_sweeps",
    "curate",
    "denoise",
    "describe",
    "doctor",
    "evaluate",
    "generate",
    "grid_request",
    "ingest",
    "ingest_job",
    "phantom",
    "register",
    "segment",
    "show",
    "show_grid",
    "store_diff",
    "store_export",
    "store_info",
    "store_verify",
    "sweep",
    "train",
    "unmix",
]
