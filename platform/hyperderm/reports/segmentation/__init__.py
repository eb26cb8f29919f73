"""The report of a segmentation: label maps, cluster spectra, reconstructions, lesion masks."""
