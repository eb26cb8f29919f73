"""The diagnoses that a lesion may have. Without numpy, so that a configuration is read in milliseconds."""

from typing import Literal, get_args

Diagnosis = Literal[
    "melanoma",
    "dysplastic_nevus",
    "nevus",
    "melanocytic_lesion",
    "solar_lentigo",
    "seborrhoeic_keratosis",
    "intraepidermal_carcinoma",
]
DIAGNOSES: tuple[Diagnosis, ...] = get_args(Diagnosis)
"""Every diagnosis a store may hold; melanoma is the positive class everywhere."""
UNKNOWN = "unknown"
"""The name under which a manifest counts lesions without a diagnosis."""
